"""Places for remote data on this machine, and a watch over their cache, for tests and benchmarks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from stat import S_ISDIR
from unittest import mock

from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFileSystem

BUCKET = "clips"


class PeakSize:
    """The most bytes that the files in a folder take together, unfinished ones included: samples them."""

    def __init__(self, folder: Path):
        self.folder, self.bytes = folder, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> PeakSize:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.005):
            sizes = {}  # by inode: a file that is renamed meanwhile comes twice
            for path in self.folder.rglob("*"):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    sizes[stat.st_ino] = 0 if S_ISDIR(stat.st_mode) else stat.st_size
            self.bytes = max(self.bytes, sum(sizes.values()))


def upload(root: Path, url: str) -> str:
    """Copy a data set to an address; returns the address."""
    file_system, path = url_to_fs(url)
    for file in root.rglob("*"):
        if file.is_file():
            target = f"{path}/{file.relative_to(root).as_posix()}"
            file_system.pipe_file(target, file.read_bytes())
    return url


def clear_memory() -> None:
    """Forget all files at memory:// addresses, which all tests of a process share."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server in a process of its own, with one empty bucket; yields the bucket's URL.

    While it runs, the environment tells every S3 client of this process and its children where it is.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that a server that does not start is an end, and not a wait
    environment = {
        "AWS_ENDPOINT_URL": ours.recv(),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, environment):
            import s3fs

            s3fs.S3FileSystem().mkdir(BUCKET)
            yield f"s3://{BUCKET}"
    finally:
        process.kill()
        process.join()


def _serve(connection: Connection) -> None:
    import logging

    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection.send(f"http://{host}:{port}")
    connection.recv()  # until this process is killed
