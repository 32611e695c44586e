"""The one exception that a user is meant to read; it knows nothing of the rest of the package."""

from __future__ import annotations


class ClipsepError(Exception):
    """A failure that the user can understand and act on.

    Its text is one clear sentence that names the file or option, what is wrong and what to do.
    The command line prints it without a traceback and exits with ``exit_code``: 1 for failed work,
    2 for wrong usage.
    """

    exit_code = 1


class UsageError(ClipsepError):
    """The request itself is wrong: an empty query, an unknown model, a key that does not exist."""

    exit_code = 2
