"""The one exception that a user is meant to read; it knows nothing of the rest of the package."""

from __future__ import annotations


class ClipsepError(Exception):
    """A failure that the user can understand and act on.

    Its text is one clear sentence that names the file or option, what is wrong and what to do.
    The command line prints it without a traceback and exits with ``exit_code``: 1 for failed work,
    2 for wrong usage.
    """

    exit_code = 1

    def __init__(self, sentence: str):
        # PyTorch raises a loader process's error again with the text of its traceback in front.
        super().__init__(sentence.rpartition(f"{type(self).__name__}: ")[2].strip())


class UsageError(ClipsepError):
    """The request itself is wrong: an empty query, an unknown model, a key that does not exist."""

    exit_code = 2
