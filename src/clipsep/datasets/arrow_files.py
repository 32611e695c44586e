"""Arrow files on disk: complete under their final name, memory-mapped when read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from clipsep.errors import ClipsepError


def write_table(table: pa.Table, path: Path) -> None:
    """Write an Arrow file beside ``path`` and rename it, as one record batch."""
    temporary = path.with_suffix(".tmp")
    with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    temporary.rename(path)


def read_table(path: Path) -> pa.Table:
    """A memory-mapped Arrow file; ClipsepError if it is missing or damaged."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, reason: object) -> ClipsepError:
    """What to say of a file that cannot be used."""
    return ClipsepError(
        f"'{path}' is missing or damaged ({reason}): delete it and run 'clipsep prepare' again."
    )


def shard_paths(root: Path) -> list[Path]:
    """The shards of a data set folder, in the order in which they were written."""
    return sorted((root / "shards").glob("*.arrow"))
