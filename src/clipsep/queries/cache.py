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

from clipsep.files import atomic_write, user_cache
from clipsep.queries.parsing import Content

_MOST = 2000  # embeddings; beyond, the half that was used longest ago is removed


class QueryCache:
    """Embeddings [D] of one encoder's texts, images and audio.

    None of these is an error: a folder that cannot be read (nothing is found there), one that cannot be
    written (nothing new is kept), a user without a home.

    Args:
        space: whatever an embedding depends on besides the query: encoder, revision, prompts.
        folder: place of the cache; by default below the user's.
    """

    def __init__(self, space: str, folder: Path | None = None):
        digest = hashlib.sha256(space.encode()).hexdigest()[:16]
        folder = folder or _default_folder()
        self._folder = folder / digest if folder else None

    def get(self, query: Content) -> np.ndarray | None:
        """Return the embedding, float32 [D], if it is there and whole."""
        path = self._path(query)
        if path is None:
            return None
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
                if (path := self._path(query)) is not None:
                    numbers = np.asarray(embedding, np.float32).tobytes()
                    with atomic_write(path) as temporary:
                        temporary.write_bytes(hashlib.sha256(numbers).digest() + numbers)
            self._tidy()

    def _tidy(self) -> None:
        files = list(self._folder.iterdir()) if self._folder else []
        if len(files) > _MOST:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - _MOST // 2]:
                path.unlink(missing_ok=True)

    def _path(self, query: Content) -> Path | None:
        if self._folder is None:
            return None
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


def _default_folder() -> Path | None:
    # Not inside the folder where files of data sets are kept, which has a limit of its own.
    caches = user_cache()
    return caches / "clipsep-queries" if caches else None
