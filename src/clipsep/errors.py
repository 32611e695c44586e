"""The one exception that a user is meant to read, and the sentence for packages that are not installed."""

from __future__ import annotations

import importlib.util


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


def is_installed(package: str) -> bool:
    """Whether a top-level package can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: a test put None or a stub in its place
        return False


def require(*packages: str, extra: str, purpose: str) -> None:
    """Raise ClipsepError if a package is missing.

    Args:
        extra: the extra of clipsep that brings it.
        purpose: what needs it, as the sentence's subject: "training", "drawing a figure".
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise ClipsepError(
            f"{purpose[0].upper()}{purpose[1:]} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: run pip install 'clipsep[{extra}]'."
        )
