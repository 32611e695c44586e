"""What lies in a folder, for tests."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Everything below a folder."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }
