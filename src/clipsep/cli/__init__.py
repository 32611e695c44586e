"""The command `clipsep`; `main` is what tests and `python -m clipsep` call."""

from clipsep.cli.app import main

__all__ = ["main"]
