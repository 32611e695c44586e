"""The command line; `main` runs it."""

from clipsep.cli.app import main

__all__ = ["main"]
