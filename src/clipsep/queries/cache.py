"""Embeddings of queries that were read before, on disk, so that a repeated query loads no encoder.

File names are hashes: nobody can read the queries in them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from clipsep.files import atomic_write
from clipsep.queries.parsing import Content

_MOST = 2000  # embeddings; beyond, the half that was used longest ago is removed


class QueryCache:
    """Embeddings [D] of one encoder's texts, images and audio.

    A folder that cannot be read is not an error, then nothing is found there; nor is one that cannot
    be written, then nothing new is kept.

    Args:
        space: whatever an embedding depends on besides the query: encoder, revision, prompts.
        folder: place of the cache; by default below the user's.
    """

    def __init__(self, space: str, folder: Path | None = None):
        digest = hashlib.sha256(space.encode()).hexdigest()[:16]
        self._folder = (folder or _default_folder()) / digest

    def get(self, query: Content) -> np.ndarray | None:
        """Return the embedding, float32 [D], if it is there and whole."""
        path = self._path(query)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):  # others' files, or a disk that is read only
            os.utime(path)  # as the one used last
        digest, numbers = content[:32], content[32:]
        if hashlib.sha256(numbers).digest() != digest:
            return None
        return np.frombuffer(numbers, np.float32)

    def put(self, queries: Sequence[Content], embeddings: Sequence[np.ndarray]) -> None:
        """Keep the embedding [D] of each query."""
        with suppress(OSError):
            for query, embedding in zip(queries, embeddings, strict=True):
                numbers = np.asarray(embedding, np.float32).tobytes()
                with atomic_write(self._path(query)) as temporary:
                    temporary.write_bytes(hashlib.sha256(numbers).digest() + numbers)
            self._tidy()

    def _tidy(self) -> None:
        files = list(self._folder.iterdir())
        if len(files) > _MOST:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - _MOST // 2]:
                path.unlink(missing_ok=True)

    def _path(self, query: Content) -> Path:
        if isinstance(query, str):
            content = b"text\0" + query.encode("utf-8", "surrogatepass")
        elif isinstance(query, np.ndarray):
            content = b"audio\0" + query.tobytes()
        else:
            # With the mode and the orientation, which say how the numbers are read.
            about = f"image\0{query.mode}\0{query.size}\0{query.getexif().get(0x0112)}\0"
            content = about.encode() + query.tobytes()
            if query.mode == "P":
                content += query.convert("RGBA").tobytes()
        return self._folder / hashlib.sha256(content).hexdigest()[:40]


def _default_folder() -> Path:
    # Not inside the folder where files of data sets are kept, which has a limit of its own.
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipsep-queries"
