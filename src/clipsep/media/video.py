"""Reading a video for the data set: one pass gives mono sound and evenly spaced frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.media.containers import demux, open_media, video_stream
from clipsep.media.resampling import StreamingResampler
from clipsep.media.sound_track import SoundTrack

_WORTH_SEEKING_SECONDS = 5.0
_LONGEST_JUMP_SECONDS = 600.0  # beyond it the time stamps are broken, not the recording slow


@dataclass
class Video:
    """``audio`` [T] mono float32 at ``sample_rate`` (Hz) and RGB ``frames``, evenly spaced."""

    audio: np.ndarray
    sample_rate: int
    frames: list[Image.Image]


def read_video(
    path: str | Path, sample_rate: int = 16_000, fps: float = 1.0, size: int = 224
) -> Video:
    """Decode ``path`` once into mono sound at ``sample_rate`` and ``fps`` frames per second.

    Frame i (0-based) is the one shown at (i + 0.5) / fps seconds, its short side scaled to
    ``size`` pixels (bicubic), then the centre cut to size x size. There are
    max(1, floor(seconds * fps)) of them, where seconds is the length of the sound; the last frame
    is held if the audio is longer. Time 0 is the first frame: sound that starts later is padded,
    sound that starts earlier is cut. Raises ClipsepError: unreadable, no frames, no sound,
    truncated, damaged.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise ClipsepError(f"{path} has no video: choose a video file.")
        sound = SoundTrack(path, container)
        frames = _FrameTrack(path, stream, fps, size)
        pieces: list[np.ndarray] = []
        resampler: StreamingResampler | None = None
        for packet in demux(container, path, sound.stream, stream):
            if packet.stream.index == stream.index:
                frames.feed(packet)
                continue
            for piece in sound.feed(packet):
                resampler = resampler or StreamingResampler(sound.info.sample_rate, sample_rate)
                pieces.append(resampler.push(piece.mean(axis=0)))
        sound.finish()
    assert resampler is not None  # a sound without samples raised
    pieces.append(resampler.push(np.zeros(0, np.float32), last=True))
    offset = sound.start_seconds - frames.finish()
    audio = _shift(np.concatenate(pieces), round(offset * sample_rate), path, sample_rate)
    count = max(1, int(len(audio) * fps / sample_rate + 1e-6))
    return Video(audio, sample_rate, frames.take(count))


def read_frame(path: str | Path, seconds: float) -> Image.Image:
    """Read the frame of a video that is shown ``seconds`` after its first one, upright RGB, uncut.

    Raises:
        UsageError: if the file does not exist, or the video's last frame is over by then.
        ClipsepError: if it has no frames, or they cannot be decoded.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise ClipsepError(f"{path} has no frames: choose a video file.")
        if stream.codec_context is None:
            raise ClipsepError(
                f"{path} has frames in a format that cannot be decoded here: convert it first."
            )
        tick = stream.time_base or Fraction(1)
        first = float((stream.start_time or 0) * tick)
        rate = float(stream.average_rate or 1)
        shown: av.VideoFrame | None = None
        try:
            if seconds > _WORTH_SEEKING_SECONDS:
                container.seek(int((first + seconds) / tick), stream=stream)
            for frame in container.decode(stream):
                elapsed = None if frame.time is None else frame.time - first
                if shown is not None and elapsed is not None and elapsed > seconds + 1e-6:
                    return _upright(shown)
                shown = frame
        except FFmpegError as error:
            raise ClipsepError(
                f"{path} is damaged: its frames at {seconds:g} s cannot be decoded; get an intact copy."
            ) from error
    last = shown.time - first if shown is not None and shown.time is not None else 0.0
    if shown is None:
        raise UsageError(f"{path} has no frame at {seconds:g} s: choose an earlier moment.")
    shown_for = float((shown.duration or 0) * tick)
    end = last + max(shown_for, 1 / rate)
    if seconds > end + 1e-6:
        raise UsageError(
            f"{path} ends at {end:.2f} s and has no frame at {seconds:g} s: choose an earlier moment."
        )
    return _upright(shown)


def _upright(frame: av.VideoFrame) -> Image.Image:
    image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


class _FrameTrack:
    """Decodes frames and keeps those shown at (i + 0.5) / fps seconds after the first one."""

    def __init__(self, path: Path, stream: av.VideoStream, fps: float, size: int) -> None:
        self._path = path
        self._fps = fps
        self._size = size
        self._declared = float((stream.duration or 0) * (stream.time_base or 0))
        self._first_seconds: float | None = None
        self._seconds = 0.0
        self._previous: av.VideoFrame | None = None
        self._kept: list[Image.Image] = []
        if stream.codec_context is None:
            raise ClipsepError(
                f"{path} has frames in a format that cannot be decoded here: convert it first."
            )
        # Videos are read side by side, each in its own process, which one thread serves best.
        stream.codec_context.thread_count = 1

    def feed(self, packet: av.Packet) -> None:
        """Decode one packet; raises ClipsepError for damaged frames."""
        try:
            frames = packet.decode()
        except FFmpegError as error:
            if self._previous is None:
                return  # what precedes the first key frame cannot be decoded, and need not be
            raise ClipsepError(
                f"{self._path} is damaged: the frame after {self._seconds:.2f} s cannot be "
                "decoded; get an intact copy."
            ) from error
        for frame in frames:
            self._advance(frame)

    def finish(self) -> float:
        """Call after the last packet: the time of the first frame in seconds.

        Raises ClipsepError if no frame could be decoded or the frames stop far too early.
        """
        if self._first_seconds is None:
            raise ClipsepError(f"{self._path} has no frame that can be decoded: get a new copy.")
        if self._seconds < 0.99 * self._declared - 1.0:
            raise ClipsepError(
                f"{self._path} is truncated: it declares {self._declared:.2f} s of frames but "
                f"only {self._seconds:.2f} s could be read; get a complete copy."
            )
        return self._first_seconds

    def take(self, count: int) -> list[Image.Image]:
        """Return the first ``count`` frames; the last one decoded is held for as long as needed."""
        missing = count - len(self._kept)
        if missing <= 0:
            return self._kept[:count]
        assert self._previous is not None
        return self._kept + [self._image(self._previous)] * missing

    def _advance(self, frame: av.VideoFrame) -> None:
        if frame.time is None:
            return
        if self._first_seconds is None:
            self._first_seconds = frame.time
        elapsed = frame.time - self._first_seconds
        if elapsed - self._seconds > _LONGEST_JUMP_SECONDS:
            raise ClipsepError(
                f"{self._path} has frames that jump from {self._seconds:.0f} s to "
                f"{elapsed:.0f} s: its time stamps are broken; convert it again."
            )
        self._seconds = elapsed
        # The previous frame was on the screen until now: it serves every moment in between.
        while self._previous is not None and (len(self._kept) + 0.5) / self._fps < self._seconds:
            self._kept.append(self._image(self._previous))
        self._previous = frame

    def _image(self, frame: av.VideoFrame) -> Image.Image:
        return square_image(_upright(frame), self._size)


def square_image(image: Image.Image, size: int) -> Image.Image:
    """``image`` with its short side scaled to ``size`` pixels (bicubic), then the centre cut out."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _shift(audio: np.ndarray, offset: int, path: Path, sample_rate: int) -> np.ndarray:
    """Move ``audio`` [T] later (zeros before it) or earlier (cut) by ``offset`` samples."""
    if offset > _LONGEST_JUMP_SECONDS * sample_rate or -offset >= len(audio):
        raise ClipsepError(
            f"{path} has sound and frames {abs(offset) / sample_rate:.0f} s apart: its time "
            "stamps are broken; convert it again."
        )
    if offset >= 0:
        return np.pad(audio, (offset, 0))
    return audio[-offset:]
