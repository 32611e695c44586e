"""`python -m clipsep` is the same as the command `clipsep`."""

from __future__ import annotations

import sys

from clipsep.cli import main

# Guarded, because `prepare` starts processes that import this module again.
if __name__ == "__main__":
    sys.exit(main())
