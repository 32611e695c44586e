"""Fetching one video, or some seconds of it, with yt-dlp; and what its failures mean."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipsep.errors import ClipsepError
from clipsep.paper.public_sets import ListedClip

# Seconds before the first new try. YouTube lets go of a session after "up to an hour".
REFUSED_WAIT = 60.0
FAILED_WAIT = 2.0
_URL = "https://www.youtube.com/watch?v={}"
# Looked for first: such a refusal may begin with "Video unavailable" too.
_REFUSED = (
    "not a bot", "rate-limit", "try again later", "too many requests", "error 429", "captcha",
)  # fmt: skip
_GONE = (
    "video unavailable", "video is unavailable", "video is not available", "no longer available",
    "video is private", "private video", "has been removed", "has been terminated",
    "in your country", "copyright", "confirm your age", "age-restricted", "inappropriate for some",
    "members-only", "join this channel", "requires payment", "live event will begin", "premieres in",
)  # fmt: skip


class VideoMissing(Exception):
    """The video is not available; its text is why."""


class FetchFailed(Exception):
    """It did not work this time; its text is why, ``wait`` the seconds before the first new try."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = FAILED_WAIT if wait is None else wait


class YouTube:
    """Fetches clips as small videos (up to 360 lines where available) with audio.

    Raises:
        ClipsepError: if ffmpeg is missing, which cuts seconds out and joins audio and frames.
    """

    def __init__(self, rate_limit: int | None = None):
        """``rate_limit``: bytes per second for one whole video; cut clips are small and not limited."""
        import yt_dlp  # here, so that a missing package is named before anything begins

        self._yt_dlp = yt_dlp
        self._ffmpeg = find_ffmpeg()
        self._options = {
            "format": "bv*+ba/b",
            "format_sort": ["res:360", "vcodec:h264", "acodec:aac"],
            "merge_output_format": "mp4",
            "ffmpeg_location": self._ffmpeg,
            "ratelimit": rate_limit,
            "noplaylist": True,
            "cachedir": False,
            "socket_timeout": 30,
            "retries": 3,
            "fragment_retries": 3,
            "quiet": True,
            "noprogress": True,
            "logger": _Silence(),
        }

    def fetch(self, clip: ListedClip, folder: Path, cancelled: threading.Event) -> Path:
        """Fetch ``clip`` into ``folder`` and return its file; a partial file is continued.

        Nothing is encoded again: what a cut needs of the frames before it is there, but not shown.

        Raises:
            VideoMissing: if the video is not available.
            FetchFailed: if another try may succeed.
            ClipsepError: if no video can be stored now (a full disk).
        """
        options: dict[str, Any] = {**self._options, "outtmpl": f"{_escape(folder)}/video.%(ext)s"}
        options["progress_hooks"] = [self._stop_if(cancelled)]
        if clip.start is not None and clip.seconds is not None:
            options["download_ranges"] = _section(clip.start, clip.start + clip.seconds)
        try:
            self._tell_ffmpeg()
            with self._yt_dlp.YoutubeDL(options) as downloader:
                info = downloader.extract_info(_URL.format(clip.video))
            return Path(info["requested_downloads"][0]["filepath"])
        except VideoMissing:
            raise
        except self._yt_dlp.utils.YoutubeDLError as error:
            raise _meaning(str(error)) from error
        except Exception as error:  # when YouTube changes, yt-dlp may fail in any way
            raise FetchFailed(f"{type(error).__name__} in yt-dlp: {error}") from error

    def _tell_ffmpeg(self) -> None:
        """Set where yt-dlp looks for ffmpeg when it cuts: per thread, and not in the options."""
        self._yt_dlp.postprocessor.ffmpeg.FFmpegPostProcessor._ffmpeg_location.set(self._ffmpeg)

    def _stop_if(self, cancelled: threading.Event) -> Callable[[dict], None]:
        def hook(_: dict) -> None:
            if cancelled.is_set():
                raise self._yt_dlp.utils.DownloadCancelled

        return hook


def find_ffmpeg() -> str:
    """Find the ffmpeg program: of the system, else of the package imageio-ffmpeg."""
    if program := shutil.which("ffmpeg"):
        return program
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise ClipsepError(
            "Cutting videos needs the program ffmpeg, which was not found: install it, or "
            "pip install 'clipsep[download]'."
        ) from None


class _Silence:
    """Swallows yt-dlp's messages: what went wrong is in its exceptions."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


def _section(start: int, end: int) -> Callable[[dict, Any], list[dict]]:
    """yt-dlp's choice of the seconds from ``start`` to ``end``."""

    def ranges(info: dict, _: Any) -> list[dict]:
        # Else the file would come out empty, and look like trouble with the network.
        if info.get("duration") and info["duration"] <= start:
            raise VideoMissing(f"ends after {info['duration']} s, before the clip begins")
        return [{"start_time": start, "end_time": end}]

    return ranges


def _meaning(message: str) -> Exception:
    """Choose the exception that stands for a failure of yt-dlp."""
    if "no space left" in message.lower() or "quota exceeded" in message.lower():
        return ClipsepError("The disk is full: make room, then run the same command again.")
    # "ERROR: [youtube] <id>: <reason> (caused by ...)", with colours and more lines at times
    text = re.sub(r"\x1b\[[\d;]*m", "", message).strip().split("\n")[0]
    text = text.partition(" (caused by ")[0]
    reason = re.sub(r"^(ERROR: )?(\[[^\]]*\] )?([\w-]{11}: )?", "", text)[:200]
    lower = reason.lower().replace("’", "'")
    if any(words in lower for words in _REFUSED):
        return FetchFailed(reason, REFUSED_WAIT)
    if any(words in lower for words in _GONE):
        return VideoMissing(reason)
    return FetchFailed(reason)


def _escape(folder: Path) -> str:
    """Escape a path as a part of a yt-dlp template, in which '%' begins a field."""
    return str(folder).replace("%", "%%")
