"""A yt-dlp without a network, for tests: it makes small videos and fails as it is told to."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.helpers.audio import write_video


class YoutubeDLError(Exception):
    """As yt-dlp's: what all its exceptions are."""


class DownloadCancelled(YoutubeDLError):
    def __init__(self) -> None:
        super().__init__("The download was cancelled")


class FakeYtDlp:
    """Stands for the module yt_dlp.

    Attributes:
        options, urls: of every download, in the order in which they began.
        seconds: length of the videos it makes.
    """

    def __init__(self, folder: Path):
        self.options: list[dict] = []
        self.urls: list[str] = []
        self.seconds = 2.0
        self._video = folder / "fake.mp4"
        self._failures: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch, folder: Path) -> FakeYtDlp:
        """Put a fake in the place of yt_dlp, and a name in the place of ffmpeg."""
        fake = cls(folder)
        module = ModuleType("yt_dlp")
        module.YoutubeDL = lambda options: _FakeDownloader(fake, options)
        module.utils = SimpleNamespace(
            YoutubeDLError=YoutubeDLError, DownloadCancelled=DownloadCancelled
        )
        location = SimpleNamespace(set=lambda path: None)
        part = SimpleNamespace(FFmpegPostProcessor=SimpleNamespace(_ffmpeg_location=location))
        module.postprocessor = SimpleNamespace(ffmpeg=part)
        monkeypatch.setitem(sys.modules, "yt_dlp", module)
        monkeypatch.setattr("clipsep.paper.download.youtube.find_ffmpeg", lambda: "ffmpeg")
        return fake

    def fail(self, message: str, video: str = "", times: int = 1000) -> None:
        """Let the next downloads of ``video`` (by default of any) fail."""
        self._failures[video] = [message] * times

    def download(self, options: dict, url: str) -> dict:
        with self._lock:
            self.options.append(options)
            self.urls.append(url)
            waiting = self._failures.get(url.partition("v=")[2]) or self._failures.get("")
            failure = waiting.pop() if waiting else None
            if not self._video.exists():
                write_video(self._video, seconds=self.seconds)
        for hook in options["progress_hooks"]:
            hook({"status": "downloading"})
        if failure:
            raise YoutubeDLError(failure)
        path = Path(options["outtmpl"].replace("%%", "%").replace("%(ext)s", "mp4"))
        path.write_bytes(self._video.read_bytes())
        return {"requested_downloads": [{"filepath": str(path)}]}


class _FakeDownloader:
    def __init__(self, fake: FakeYtDlp, options: dict):
        self._fake, self._options = fake, options

    def __enter__(self) -> _FakeDownloader:
        return self

    def __exit__(self, *_: object) -> None: ...

    def extract_info(self, url: str) -> dict:
        return self._fake.download(self._options, url)
