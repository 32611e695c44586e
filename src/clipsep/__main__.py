"""The command `clipsep`, which `python -m clipsep` runs, too."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it without a traceback also while it is imported."""
    try:
        from clipsep.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("clipsep: interrupted.\n")
        return 130


# Guarded, because `prepare` starts processes that import this module again.
if __name__ == "__main__":
    sys.exit(main())
