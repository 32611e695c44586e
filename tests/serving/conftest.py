"""A real server in a process of its own, and short recordings to send to it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "speech-and-violin.flac"


@dataclass
class Server:
    """A running `clipsep serve`: its address, its process and the folder of its temporary files."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path
    before: frozenset[str] = frozenset()

    def folders(self) -> frozenset[str]:
        """Folders of requests that are there now."""
        folders = self.temporary.glob("clipsep-serve-*/*")
        return frozenset(path.name for path in folders if path.name != "lock")

    def left_over(self) -> frozenset[str]:
        """Folders of requests that were not there when the test started."""
        return self.folders() - self.before

    def stop(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)


def start_server(
    temporary: Path, *options: str, program: str | None = None, log: IO[bytes] | None = None
) -> Server:
    """Start a server on a port that is free, and wait until it answers.

    Args:
        program: lines of Python that start it, in place of the command with its options.
        log: gets what it says on stderr.
    """
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(REPOSITORY / "src"),
        "OMP_NUM_THREADS": "1",
    }
    command = ["-c", program] if program else ["-m", "clipsep", "serve", "--port", "0", *options]
    process = subprocess.Popen(
        [sys.executable, *command],
        stderr=log,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    line = process.stdout.readline()
    found = re.search(r"http://[^ ]+:\d+", line)
    assert found, f"the server said {line!r}"
    return Server(found[0], process, temporary)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With small limits, so that tests can reach them."""
    running = start_server(
        tmp_path_factory.mktemp("server"),
        *("--max-megabytes", "4", "--max-minutes", "0.5", "--max-queries", "3"),
    )
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    server.before = server.folders()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def tone(seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> bytes:
    """A WAV file of 16 bits."""
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples] * channels, axis=1), rate, format="WAV")
    return file.getvalue()
