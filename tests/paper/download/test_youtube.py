"""Laws of fetching: what yt-dlp is asked for, what its failures mean, and that the real one takes it."""

from __future__ import annotations

import functools
import http.server
import inspect
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from clipsep.errors import ClipsepError
from clipsep.media import read_video
from clipsep.paper.download import youtube
from clipsep.paper.download.youtube import FetchFailed, VideoMissing, YouTube
from clipsep.paper.public_sets import ListedClip
from tests.helpers.audio import write_video
from tests.helpers.fake_yt_dlp import FakeYtDlp

WHOLE = ListedClip("jW_AuF6dQYY", None, None, "flute", "train")
SECTION = ListedClip("--9O4XZOge4", 1, 2, "dog", "train")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeYtDlp:
    return FakeYtDlp.install(monkeypatch, tmp_path)


def fetch(clip: ListedClip, folder: Path, cancelled: threading.Event | None = None) -> Path:
    return YouTube().fetch(clip, folder, cancelled or threading.Event())


# What is asked for


def test_a_whole_video_and_a_section(fake: FakeYtDlp, tmp_path: Path):
    folder = tmp_path / "%(title)s"
    folder.mkdir()
    assert fetch(WHOLE, folder).parent == folder
    assert fake.urls == ["https://www.youtube.com/watch?v=jW_AuF6dQYY"]
    assert "download_ranges" not in fake.options[0]
    fetch(SECTION, tmp_path)
    ranges = fake.options[1]["download_ranges"]({"duration": 9}, None)
    assert list(ranges) == [{"start_time": 1, "end_time": 3}]


def test_the_rate_limit_is_handed_on(fake: FakeYtDlp, tmp_path: Path):
    YouTube(rate_limit=50_000).fetch(WHOLE, tmp_path, threading.Event())
    assert fake.options[0]["ratelimit"] == 50_000


def test_a_video_that_ends_before_the_section_is_missing():
    late = youtube._section(30, 40)
    with pytest.raises(VideoMissing, match="ends after 12 s"):
        late({"duration": 12}, None)
    assert late({}, None) == [{"start_time": 30, "end_time": 40}]


def test_a_download_that_was_called_off_stops(fake: FakeYtDlp, tmp_path: Path):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(FetchFailed, match="cancelled"):
        fetch(WHOLE, tmp_path, cancelled)


def test_ffmpeg_is_the_systems_or_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(youtube.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert youtube.find_ffmpeg() == "/usr/bin/ffmpeg"
    monkeypatch.setattr(youtube.shutil, "which", lambda name: None)
    assert Path(youtube.find_ffmpeg()).is_file()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ClipsepError, match="needs the program ffmpeg"):
        youtube.find_ffmpeg()


# What failures mean; the words are YouTube's and yt-dlp's own


@pytest.mark.parametrize(
    "message",
    [
        "[youtube] jW_AuF6dQYY: Private video. Sign in if you've been granted access to this video",
        "[youtube] jW_AuF6dQYY: Video unavailable",
        "[youtube] jW_AuF6dQYY: Video unavailable. This video has been removed by the uploader",
        "[youtube] jW_AuF6dQYY: This video has been removed for violating YouTube's Terms of Service",
        "[youtube] jW_AuF6dQYY: Video unavailable. This video is no longer available because the "
        "YouTube account associated with this video has been terminated.",
        "[youtube] jW_AuF6dQYY: The uploader has not made this video available in your country",
        "[youtube] jW_AuF6dQYY: Sign in to confirm your age. This video may be inappropriate",
        "[youtube] jW_AuF6dQYY: Join this channel to get access to members-only content",
        "[youtube] jW_AuF6dQYY: Premieres in 3 hours",
    ],
)
def test_a_video_that_is_gone_is_missing(fake: FakeYtDlp, tmp_path: Path, message: str):
    fake.fail(f"\x1b[0;31mERROR:\x1b[0m {message}\nsee https://example.org")
    with pytest.raises(VideoMissing) as caught:
        fetch(WHOLE, tmp_path)
    assert message.endswith(str(caught.value)) and "jW_AuF6dQYY" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "[youtube] jW_AuF6dQYY: Video unavailable. This content isn't available, try again later. "
        "The current session has been rate-limited by YouTube for up to an hour.",
        "[youtube] jW_AuF6dQYY: Sign in to confirm you’re not a bot. Use --cookies",
        "[youtube] jW_AuF6dQYY: Unable to download API page: HTTP Error 429: Too Many Requests",
        "[youtube] x: Video unavailable. YouTube is requiring a captcha challenge before playback",
    ],
)
def test_a_refusal_is_waited_out(fake: FakeYtDlp, tmp_path: Path, message: str):
    fake.fail(f"ERROR: {message}")
    with pytest.raises(FetchFailed) as caught:
        fetch(WHOLE, tmp_path)
    assert caught.value.wait == youtube.REFUSED_WAIT


@pytest.mark.parametrize(
    "message",
    [
        "[youtube] jW_AuF6dQYY: Unable to download webpage: <urlopen error timed out>",
        "[youtube] jW_AuF6dQYY: Requested format is not available. Use --list-formats",
        "unable to download video data: HTTP Error 403: Forbidden",
        "ffmpeg exited with code 8",
        "words that yt-dlp may find tomorrow",
    ],
)
def test_anything_else_may_work_another_time(fake: FakeYtDlp, tmp_path: Path, message: str):
    fake.fail(f"ERROR: {message}")
    with pytest.raises(FetchFailed) as caught:
        fetch(WHOLE, tmp_path)
    assert caught.value.wait == youtube.FAILED_WAIT


def test_a_bug_in_yt_dlp_is_no_end_of_all(fake: FakeYtDlp, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fake, "download", lambda options, url: {"entries": []})
    with pytest.raises(FetchFailed, match="KeyError in yt-dlp"):
        fetch(WHOLE, tmp_path)


def test_a_full_disk_is_no_matter_of_one_video(fake: FakeYtDlp, tmp_path: Path):
    fake.fail("ERROR: unable to write data: [Errno 28] No space left on device")
    with pytest.raises(ClipsepError, match="disk is full"):
        fetch(WHOLE, tmp_path)


# The real yt-dlp, without YouTube


def test_the_real_one_knows_every_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    yt_dlp = pytest.importorskip("yt_dlp")
    seen = []

    class Recorder(yt_dlp.YoutubeDL):
        def __init__(self, options: dict):
            super().__init__(options)  # compiles the format selector and checks types
            seen.append(options)

        def extract_info(self, url: str) -> dict:
            assert self.params["download_ranges"]({}, self)
            path = self.prepare_filename({"id": "x", "title": "x", "ext": "mp4"})
            return {"requested_downloads": [{"filepath": path}]}

    monkeypatch.setattr(yt_dlp, "YoutubeDL", Recorder)
    folder = tmp_path / "%(title)s"
    assert fetch(SECTION, folder) == folder / "video.mp4"
    documented = inspect.getdoc(yt_dlp.YoutubeDL.__mro__[1]) + _downloader_options()
    for option in seen[0]:
        assert re.search(rf"\b{option}\b", documented), option


def _downloader_options() -> str:
    from yt_dlp.downloader.common import FileDownloader

    return inspect.getdoc(FileDownloader)


MANIFEST = """\
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period duration="PT3S">
<AdaptationSet mimeType="video/mp4"><Representation id="v" codecs="avc1" width="64" height="48">
<BaseURL>frames.mp4</BaseURL></Representation></AdaptationSet>
<AdaptationSet mimeType="audio/mp4"><Representation id="a" codecs="mp4a.40.2">
<BaseURL>sound.m4a</BaseURL></Representation></AdaptationSet>
</Period></MPD>
"""


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves parts of files, as video servers do: ffmpeg seeks."""

    extensions_map: ClassVar = {
        ".mp4": "video/mp4",
        ".m4a": "audio/mp4",
        ".mpd": "application/dash+xml",
    }

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = int(wanted[2]) if wanted and wanted[2] else len(data) - 1
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of files that stand for YouTube's videos."""
    pytest.importorskip("yt_dlp")
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(RangeHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        base = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(youtube, "_URL", base + "/{}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folder
        running.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_real_one_fetches_a_whole_video(server: Path, tmp_path: Path):
    write_video(server / "video.mp4", seconds=2.0)
    path = fetch(replace(WHOLE, video="video.mp4"), tmp_path)
    assert path.read_bytes() == (server / "video.mp4").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["video.mp4", "manifest.mpd"])
def test_the_real_one_cuts_exactly_the_seconds_with_the_packages_ffmpeg(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
):
    """Of one file, or of sound and frames apart (as YouTube has them), which are joined.

    In a thread, where yt-dlp forgets where ffmpeg is, and from a start that is no key frame.
    """
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(youtube.shutil, "which", lambda name: None)
    write_video(server / "video.mp4", size=(128, 96))
    write_video(server / "frames.mp4", codecs=("mpeg4", None), size=(128, 96))
    write_video(server / "sound.m4a", codecs=(None, "aac"))
    (server / "manifest.mpd").write_text(MANIFEST)
    paths = []
    clip = replace(SECTION, video=source)
    worker = threading.Thread(target=lambda: paths.append(fetch(clip, tmp_path)))
    worker.start()
    worker.join()
    video = read_video(paths[0], 16_000)
    assert len(video.audio) == pytest.approx(32_000, abs=1600)
    # The red of frame k is 8 k: at 1.5 s of the film it is 120, at 2.5 s 200.
    assert [frame.getpixel((200, 100))[0] for frame in video.frames] == pytest.approx(
        [120, 200], abs=12
    )


@pytest.mark.slow
def test_the_real_ones_failures_are_understood(server: Path, tmp_path: Path):
    with pytest.raises(FetchFailed):
        fetch(WHOLE, tmp_path)  # the server breaks off: there is no such file
