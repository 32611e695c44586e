"""A video with another sound: its frames are copied packet by packet, the sound is encoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from clipsep.errors import ClipsepError
from clipsep.media.containers import demux, open_media, video_stream
from clipsep.media.sound_track import AudioStreamInfo
from clipsep.media.writing.tags import Tags

# How the sound is encoded: what players expect in the container, lossless where that is usual.
_ENCODERS = {
    "mp4": ("aac", "fltp"),
    "m4v": ("aac", "fltp"),
    "mov": ("aac", "fltp"),
    "webm": ("libopus", "flt"),
    "mkv": ("flac", "s32"),
}
_BITS_PER_SECOND = {"aac": 128_000, "libopus": 96_000}  # per channel
# Each a container that takes frames and subtitles of nearly any kind.
_CONTAINERS = {"m4v": "mp4", "mkv": "matroska"}


def video_format(path: Path) -> str:
    """Choose the suffix of a video with another sound: the video's own where possible, else mkv."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in _ENCODERS else "mkv"


class VideoSink:
    """Encodes packed float samples [n, C] beside the frames of a video, which it copies.

    Args:
        path: where the new file goes.
        source: the video, and when its sound starts.
        format: one that `video_format` gives.
        layout: ffmpeg's name of the sound's channels.

    Raises:
        ClipsepError: if the video cannot be read, or its container cannot hold its frames.
    """

    def __init__(
        self, path: Path, source: AudioStreamInfo, format: str, layout: str, tags: Tags | None
    ):
        self._source = source
        self._layout = layout
        codec, self._sample_format = _ENCODERS[format]
        self._written = 0
        self._input = open_media(source.path)
        self._unfinished: list[av.container.Container] = [self._input]
        try:
            options = {"fflags": "+bitexact"}
            if format in ("mp4", "m4v", "mov"):
                # Its default of milliseconds would round the length of the sound.
                options["movie_timescale"] = str(source.sample_rate)
            self._output = av.open(
                str(path.absolute()), "w", format=_CONTAINERS.get(format, format), options=options
            )
            self._unfinished.append(self._output)
            self._copied = self._copied_streams()
            stream = self._output.add_stream(codec, rate=source.sample_rate, layout=layout)
            assert isinstance(stream, av.AudioStream)
            self._stream = stream
            encoder = self._stream.codec_context
            encoder.format = self._sample_format
            if codec in _BITS_PER_SECOND:
                encoder.bit_rate = _BITS_PER_SECOND[codec] * encoder.channels
            if tags:
                tags.write_to(self._output)
            self._output.start_encoding()
            self._packets = self._copies()
            self._next = next(self._packets, None)
        except BaseException:
            self.abort()
            raise

    def write(self, samples: np.ndarray) -> None:
        if self._sample_format == "s32":
            scaled = np.rint(samples.astype(np.float64) * 2**23)
            samples = np.clip(scaled, -(2**23), 2**23 - 1).astype(np.int32) << 8
        packed = self._sample_format.rstrip("p")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), packed, self._layout)
        rate = self._source.sample_rate
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = round(self._source.start_seconds * rate) + self._written
        self._written += len(samples)
        self._output.mux(self._stream.encode(frame))
        self._copy_until(self._source.start_seconds + self._written / rate)

    def close(self) -> None:
        self._copy_until(np.inf)
        self._output.mux(self._stream.encode(None))
        self._output.close()
        self._input.close()

    def abort(self) -> None:
        # Whatever closing has to say, the file is about to be removed.
        for container in self._unfinished:
            with contextlib.suppress(OSError, FFmpegError, ValueError):
                container.close()

    def _copied_streams(self) -> dict[int, av.stream.Stream]:
        """Add new streams by the index of those that are copied: frames, and subtitles where they fit."""
        frames = video_stream(self._input)
        assert frames is not None  # what has none is not given here
        copies: dict[int, av.stream.Stream] = {}
        try:
            copies[frames.index] = self._output.add_stream_from_template(frames, opaque=True)
        except (FFmpegError, ValueError) as error:
            raise ClipsepError(
                f"{self._source.path} has frames that cannot be copied ({error}): convert it first."
            ) from error
        for stream in self._input.streams.subtitles:
            with contextlib.suppress(FFmpegError, ValueError):
                copies[stream.index] = self._output.add_stream_from_template(stream, opaque=True)
        return copies

    def _copies(self) -> Iterator[av.Packet]:
        streams = [self._input.streams[index] for index in self._copied]
        for packet in demux(self._input, self._source.path, *streams):
            # Each stream ends with an empty one. Matroska's first packets of B-frames have no decoding
            # time, and hold frames all the same.
            if packet.size:
                yield packet

    def _copy_until(self, seconds: float) -> None:
        while self._next is not None:
            packet = self._next
            if float((packet.dts or 0) * packet.time_base) > seconds:
                return
            packet.stream = self._copied[packet.stream.index]
            self._output.mux(packet)
            self._next = next(self._packets, None)
