"""One sound track: packets in, float32 samples out, and a verdict on whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError

from clipsep.errors import ClipsepError
from clipsep.media.containers import check_whole, declared_seconds, video_stream
from clipsep.media.headers import mp3_frames
from clipsep.messages import counted

# The longest jump of their time stamps that is not lost sound: FLAC and Ogg run without gaps, the
# others may pause for a moment when the recording device is busy.
_LONGEST_GAPS = {"flac": 0.05, "ogg": 0.05, "mov": 0.5, "matroska": 0.5}
# One broken packet at the very end of these is a cut last frame or a stray byte, not lost sound.
_FORGIVING_CODECS = ("pcm_", "mp3", "aac", "ac3", "eac3")
# PyAV 18 looks for the end of a frame's planes behind the eighth: reading them crashes.
_MOST_PLANES = 7
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_INTEGER_SCALES = {"i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}
# What is taken from a file: beyond it, headers are damaged, or a few bytes would become hours.
_RATES = range(1_000, 768_001)  # Hz
_MOST_CHANNELS = 64
# Their containers count the samples, and their decoders give back exactly those.
_COUNTED_CODECS = ("flac", "wavpack", "tta")
_LOSSLESS_CODECS = ("pcm_", "alac", *_COUNTED_CODECS)
# Their frames have checksums.
_CHECKED_CODECS = ("flac", "wavpack", "tta", "ac3", "eac3")
_PADDED_FRAMES = 4  # of other codecs, at both ends; not every file says how much of them is padding


@dataclass(frozen=True)
class AudioStreamInfo:
    """What a file says of its sound.

    ``sample_rate`` is in Hz; ``layout`` is ffmpeg's name ("mono", "stereo", "5.1"); ``seconds`` is
    the declared length, None when unknown, and ``exact_duration`` tells a statement of the
    container from an estimate; ``has_video`` does not count cover art. ``start_seconds`` is the time
    of the first sample on the container's clock.
    """

    path: Path
    sample_rate: int
    channels: int
    layout: str
    seconds: float | None
    exact_duration: bool
    has_video: bool
    start_seconds: float = 0.0


class SoundTrack:
    """Decodes the packets of one sound stream and judges whether the sound is whole."""

    def __init__(self, path: Path, container: av.container.InputContainer) -> None:
        """Choose the best sound stream of ``container``; raises ClipsepError if there is none."""
        self.path = path
        if not container.streams:
            raise ClipsepError(f"{path} holds no track that can be read: get a complete copy.")
        stream = container.streams.best("audio")
        if stream is None:
            raise ClipsepError(
                f"{path} has no sound that can be read: choose a file with a sound track."
            )
        if not isinstance(stream, av.AudioStream) or stream.codec_context is None:
            raise ClipsepError(
                f"{path} has sound in a format that cannot be decoded here: convert it to wav first."
            )
        _check_limits(path, stream.codec_context.sample_rate, stream.codec_context.channels)
        check_whole(path, container, stream)
        kinds = container.format.name.split(",")
        self.stream = stream
        self.seconds, self.exact_duration = declared_seconds(path, container, stream)
        self.has_video = video_stream(container) is not None
        self._states_padding = "mov" in kinds
        self._longest_gap = min(_LONGEST_GAPS.get(kind, np.inf) for kind in kinds)
        self._info: AudioStreamInfo | None = None
        self.start_seconds = 0.0  # time of the first sample on the container's clock
        self._announced_frames = mp3_frames(path) if "mp3" in kinds and path.is_file() else None
        self._packets = 0
        self._samples = 0
        self._longest_frame = 0
        self._end_seconds = 0.0
        self._broken_at: list[float] = []
        self._packer: av.AudioResampler | None = None
        self._held: np.ndarray | None = None  # see _hold_padding
        if stream.codec_context.name in _CHECKED_CODECS:
            # Without it ffmpeg decodes damaged frames to noise and only logs that.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}

    @property
    def info(self) -> AudioStreamInfo:
        """Of the decoded sound; known from the first frame on."""
        assert self._info is not None
        return self._info

    def feed(self, packet: av.Packet) -> list[np.ndarray]:
        """Decode one packet to float32 pieces [C, n]; raises ClipsepError for damaged sound."""
        self._packets += packet.size > 0
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except FFmpegError:
            # Before the first frame it is harmless: tags, or a stream cut out of a broadcast.
            if self._info is not None:
                self._broken_at.append(self._samples / self.info.sample_rate)
            return []
        if frames and self._broken_at:
            raise self._damaged()
        pieces = [self._convert(frame) for frame in frames if frame.samples]
        if pieces and self._held is not None:
            pieces.insert(0, self._held)
            self._held = None
        if len(frames) == 1 and pieces:
            pieces[-1] = self._hold_padding(pieces[-1], packet)
        return pieces

    def finish(self) -> None:
        """Call after the last packet: raises ClipsepError for an empty or truncated sound."""
        if self._info is None:
            raise self._soundless()
        read_seconds = max(self._samples / self.info.sample_rate, self._end_seconds)
        if self.exact_duration and self._is_short(read_seconds):
            raise ClipsepError(
                f"{self.path} is truncated: it declares {self.seconds:.2f} s of sound but only "
                f"{read_seconds:.2f} s could be read; get a complete copy."
            )
        # Some encoders count the header as a frame.
        if self._announced_frames and self._packets < self._announced_frames - 1:
            raise ClipsepError(
                f"{self.path} is truncated: it has {self._packets} of the {self._announced_frames} MP3 "
                "frames that it announces; get a complete copy."
            )
        forgiving = self.stream.codec_context.name.startswith(_FORGIVING_CODECS)
        if len(self._broken_at) > (1 if forgiving else 0):
            raise self._damaged()

    def _is_short(self, read_seconds: float) -> bool:
        """Whether less was read than declared, as exactly as the format can tell."""
        if self.stream.codec_context.name in _COUNTED_CODECS and self.stream.duration:
            return self._samples < round((self.seconds or 0.0) * self.info.sample_rate)
        padding = 0.0
        if not self.stream.codec_context.name.startswith(_LOSSLESS_CODECS):
            padding = _PADDED_FRAMES * self._longest_frame / self.info.sample_rate
        return read_seconds < (self.seconds or 0.0) - 0.1 - padding

    def _convert(self, frame: av.AudioFrame) -> np.ndarray:
        start = None
        if frame.pts is not None and frame.time_base is not None:
            start = float(frame.pts * frame.time_base)
        if self._info is None:
            self.start_seconds = self._end_seconds = start or 0.0
            self._info = self._describe(frame)
        self._check_same(frame)
        if frame.format.is_planar and self.info.channels > _MOST_PLANES:
            self._packer = self._packer or av.AudioResampler(format=frame.format.packed)
            frame = self._packer.resample(frame)[0]
        piece = _to_float(frame)
        self._check_finite(piece)
        self._samples += piece.shape[1]
        self._longest_frame = max(self._longest_frame, piece.shape[1])
        if start is not None:
            if start - self._end_seconds > self._longest_gap:
                raise ClipsepError(
                    f"{self.path} is damaged or was paused: its sound jumps from "
                    f"{self._end_seconds:.2f} s to {start:.2f} s; get an intact copy, or convert it "
                    "to wav first."
                )
            self._end_seconds = start + piece.shape[1] / self.info.sample_rate
        return piece

    def _hold_padding(self, piece: np.ndarray, packet: av.Packet) -> np.ndarray:
        """Hold back what ``piece`` [C, n] has beyond the packet's stated length.

        MP4 states the true end of an AAC sound by a last packet that is shorter than the frame in
        it, and ffmpeg leaves the cut to us. Only at the very end: a next packet brings it back.
        """
        length = packet.duration
        exact = packet.time_base == Fraction(1, self.info.sample_rate)
        if self._states_padding and exact and length and length < piece.shape[1]:
            piece, self._held = piece[:, :length], piece[:, length:]
        return piece

    def _describe(self, frame: av.AudioFrame) -> AudioStreamInfo:
        _check_limits(self.path, frame.sample_rate, frame.layout.nb_channels)
        return AudioStreamInfo(
            path=self.path,
            sample_rate=frame.sample_rate,
            channels=frame.layout.nb_channels,
            layout=_UNNAMED_LAYOUTS.get(frame.layout.name, frame.layout.name),
            seconds=self.seconds,
            exact_duration=self.exact_duration,
            has_video=self.has_video,
            start_seconds=self.start_seconds,
        )

    def _check_same(self, frame: av.AudioFrame) -> None:
        info = self.info
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if (rate, channels) != (info.sample_rate, info.channels):
            raise ClipsepError(
                f"{self.path} changes at {self._samples / info.sample_rate:.2f} s from "
                f"{info.sample_rate} Hz, {counted(info.channels, 'channel')} to {rate} Hz, "
                f"{counted(channels, 'channel')}: convert it to one format first."
            )

    def _check_finite(self, piece: np.ndarray) -> None:
        finite = np.isfinite(piece)
        if finite.all():
            return
        first = self._samples + int(np.argmin(finite.all(axis=0)))
        raise ClipsepError(
            f"{self.path} holds a sample that is not a number or infinite at "
            f"{first / self.info.sample_rate:.3f} s: export the file again."
        )

    def _soundless(self) -> ClipsepError:
        if self.seconds:
            return ClipsepError(
                f"{self.path} declares {self.seconds:.2f} s of sound but none of it can be "
                "decoded: get an intact copy, or convert it to wav first."
            )
        return ClipsepError(
            f"{self.path} has a sound track of zero length: choose a file that holds sound."
        )

    def _damaged(self) -> ClipsepError:
        return ClipsepError(
            f"{self.path} is damaged: the sound at {self._broken_at[0]:.2f} s cannot be decoded; "
            "get an intact copy."
        )


def _check_limits(path: Path, sample_rate: int, channels: int) -> None:
    """Refuse what no recording has; 0 stands for what a header does not say."""
    if sample_rate and sample_rate not in _RATES:
        raise ClipsepError(
            f"{path} claims {sample_rate} samples per second: sample rates from {_RATES[0]} to "
            f"{_RATES[-1]} Hz can be read."
        )
    if channels > _MOST_CHANNELS:
        raise ClipsepError(
            f"{path} claims {channels} channels: up to {_MOST_CHANNELS} can be read."
        )


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    """Convert ``frame`` to samples, float32 [C, n], full scale at 1."""
    samples = _planes(frame) if frame.format.name.startswith("s64") else frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = samples.dtype.str[1:]
    with np.errstate(over="ignore"):  # a double beyond float32 becomes inf and is reported as such
        # Channel after channel in memory, which all that follows reads faster.
        floats = samples.astype(np.float32, order="C")
    if kind == "u1":
        floats -= np.float32(128)
        floats /= np.float32(128)
    elif kind in _INTEGER_SCALES:
        floats *= np.float32(1 / _INTEGER_SCALES[kind])  # a power of two: exact
    return floats


def _planes(frame: av.AudioFrame) -> np.ndarray:
    """Read samples of 64 bits, which PyAV has no arrays for: [C, n] if planar, else [1, n * C]."""
    width = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    return np.stack([np.frombuffer(bytes(plane), np.int64, width) for plane in frame.planes])
