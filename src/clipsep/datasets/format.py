"""What the files of a data set hold: Arrow tables, complete under their final name, and shards of clips."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from clipsep.errors import ClipsepError
from clipsep.files import atomic_write


def write_table(table: pa.Table, path: Path) -> None:
    """Write an Arrow file, as one record batch; it is complete or not there."""
    with (
        atomic_write(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table.combine_chunks())


def read_table(path: Path) -> pa.Table:
    """Map an Arrow file into memory; ClipsepError if it is missing or damaged."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


# Behind an Arrow file that is checked whenever it is opened: this, and the SHA-256 of all before it.
_SEAL = b"clipsep1"
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size


def write_sealed_table(table: pa.Table, path: Path) -> None:
    """As `write_table`, with a checksum behind the Arrow file."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    content = stream.getvalue()
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.write(_SEAL + hashlib.sha256(content).digest())


def read_sealed_table(path: Path) -> pa.Table:
    """Map an Arrow file with a checksum, which is compared before anything is believed.

    Arrow's reader ends the process at some damages.

    Raises:
        ClipsepError: if it is missing or damaged.
    """
    try:
        with pa.memory_map(str(path)) as source:
            whole = source.read_buffer()
        content, seal = whole[:-_SEAL_BYTES], bytes(whole[-_SEAL_BYTES:])
        if not seal.startswith(_SEAL):
            raise ValueError("its end is missing or changed")
        if seal[len(_SEAL) :] != hashlib.sha256(content).digest():
            raise ValueError("its checksum is wrong")
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def damaged(path: Path, reason: object) -> ClipsepError:
    """Make the error for a file that cannot be used."""
    return ClipsepError(
        f"'{path}' is missing or damaged ({reason}): delete it and run 'clipsep prepare' again."
    )


def shard_paths(root: Path) -> list[Path]:
    """List the shards of a data set folder, in the order in which they were written."""
    return sorted((root / "shards").glob("*.arrow"))


SAMPLE_RATE = 16000  # Hz, of the sound in every data set
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "fingerprint": pa.string(),
        "label": pa.string(),
        "seconds": pa.float64(),
        "n_frames": pa.int32(),
        "audio": pa.large_list(pa.int16()),
        "frames": pa.large_list(pa.binary()),
    }
)


def read_shard(path: Path, n_frames: int | None = None) -> pa.Table:
    """Map a shard into memory.

    What is checked without reading sound and frames is that nothing points out of the file, and that
    all that is told of the clips agrees. A sample that changed is noticed by `clipsep check`, which
    compares the whole file with its checksum in the index.

    Args:
        n_frames: how many frames there are, if that is known.

    Raises:
        ClipsepError: if it is missing or damaged.
    """
    table = read_table(path)
    try:
        table.validate(full=True)
        _require_agreement(table, n_frames)
    except ValueError as error:
        raise damaged(path, error) from error
    return table


def encode_frame(frame: Image.Image) -> bytes:
    """As it is stored, a JPEG."""
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def decode_frame(jpeg: bytes) -> Image.Image:
    """Decode a stored frame; ValueError if it is damaged."""
    try:
        frame = Image.open(io.BytesIO(jpeg))
        frame.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("a frame cannot be decoded") from error
    return frame


def _require_agreement(table: pa.Table, n_frames: int | None) -> None:
    if not table.schema.equals(SCHEMA):
        raise ValueError("its columns are not those of a shard")
    if not len(table):
        raise ValueError("it holds no clips")
    sound, frames = (pc.list_value_length(table[name]) for name in ("audio", "frames"))
    known = [table[name] for name in SCHEMA.names if name != "label"]
    inside = [pc.list_flatten(table[name]) for name in ("audio", "frames")]
    if any(column.null_count for column in known + inside):
        raise ValueError("values are missing")
    samples = pc.round(pc.multiply(table["seconds"], SAMPLE_RATE)).cast(sound.type)
    if not sound.equals(samples):
        raise ValueError("its sound is not as long as it says")
    if not frames.equals(table["n_frames"].cast(frames.type)):
        raise ValueError("it has not as many frames as it says")
    found = pc.sum(frames).as_py() or 0
    if n_frames not in (None, found):
        raise ValueError(f"{found} frames instead of {n_frames}")
