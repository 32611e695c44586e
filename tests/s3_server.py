"""An S3 server on this machine, for tests and benchmarks of remote data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from unittest import mock

BUCKET = "clips"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server in a process of its own, with one empty bucket; yields the bucket's URL.

    While it runs, the environment tells every S3 client of this process and its children where it is.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
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
