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
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from tests.helpers.browser import CHROMIUM, NO_CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

REPOSITORY = Path(__file__).parents[2]
DESKTOP = {"width": 1280, "height": 900}
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


def film(path: Path, seconds: float = 3.0) -> Path:
    """A WebM film: the left half red, the right half blue, and a tone."""
    import av

    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libvpx", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 320, 180, "yuv420p"
        sound = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = np.zeros((180, 320, 3), np.uint8)
        frame[:, :160, 0] = frame[:, 160:, 2] = 220
        for number in range(int(10 * seconds)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        tone = np.sin(2 * np.pi * 440 * np.arange(int(seconds * 48_000)) / 48_000)
        block = av.AudioFrame.from_ndarray(
            (tone * 9000).astype(np.int16)[None], format="s16", layout="mono"
        )
        block.sample_rate = 48_000
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    sync_api.expect.set_options(timeout=60_000)  # a busy machine is slow, not wrong
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--autoplay-policy=no-user-gesture-required",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, watched: it asks nobody but the server, and no script fails."""
    context = browser.new_context(viewport=DESKTOP, permissions=["microphone"])
    page = context.new_page()
    page.set_default_timeout(120_000)
    foreign: list[str] = []
    errors: list[str] = []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server.url, "blob:", "data:"))
            else foreign.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if "Content Security" in message.text else None,
    )
    page.goto(server.url)
    page.get_by_text("Model: mini").wait_for()
    yield page
    context.close()
    assert not foreign
    assert not errors
