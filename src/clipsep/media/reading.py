"""Reading sound of any kind: probe a file, stream it in blocks or load it whole.

It turns whatever ffmpeg (through PyAV) decodes into float32 [C, n], and every way in which a file
can be bad into one ClipsepError; it knows nothing of what the sound is used for.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from clipsep.errors import ClipsepError
from clipsep.media import headers
from clipsep.media.resampling import resample

# Containers whose headers state the length of the sound; elsewhere it is an estimate.
_EXACT_CONTAINERS = frozenset({"wav", "aiff", "flac", "mov", "matroska", "ogg", "wv"})
# The longest jump of their time stamps that is not lost sound: FLAC and Ogg run without gaps, the
# others may pause for a moment when the recording device is busy.
_LONGEST_GAPS = {"flac": 0.05, "ogg": 0.05, "mov": 0.5, "matroska": 0.5}
# Only real containers: playlists (hls, concat, dash) could make an uploaded file read other files,
# and text demuxers would take a stray text for subtitles.
_CONTAINERS = (
    "wav,w64,aiff,caf,au,flac,mp3,aac,ogg,mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,wv,"
    "amr,amrnb,amrwb,ac3,eac3,dts,dtshd,tta,ape,tak,mpc,mpc8,oma,rm,voc,nut,mxf,gxf,loas,truehd,"
    "ivf,h264,hevc,m4v,rawvideo,dv,3gp,3g2,mp4,m4a"
)
# One broken packet at the very end of these is a cut last frame or a stray byte, not lost sound.
_FORGIVING_CODECS = ("pcm_", "mp3", "aac")
# PyAV 18 looks for the end of a frame's planes behind the eighth: reading them crashes.
_MOST_PLANES = 7
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_INTEGER_SCALES = {"i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}


@dataclass(frozen=True)
class AudioStreamInfo:
    """What a file says of its sound.

    ``sample_rate`` is in Hz; ``layout`` is ffmpeg's name ("mono", "stereo", "5.1"); ``seconds`` is
    the declared length, None when unknown, and ``exact_duration`` tells a statement of the
    container from an estimate; ``has_video`` does not count cover art.
    """

    path: Path
    sample_rate: int
    channels: int
    layout: str
    seconds: float | None
    exact_duration: bool
    has_video: bool


def probe(path: str | Path) -> AudioStreamInfo:
    """Open ``path``, decode its first piece of sound and describe it.

    Raises ClipsepError: missing, a folder, empty, not media, without sound.
    """
    with AudioReader(path) as reader:
        return reader.info


def read_audio(
    path: str | Path, sample_rate: int | None = None, mono: bool = False
) -> tuple[np.ndarray, int]:
    """Read a whole file: float32 [C, T], or [T] with ``mono`` (mean over channels), and its rate.

    ``sample_rate`` (Hz) resamples; None keeps the file's own. Raises ClipsepError for bad files.
    """
    with AudioReader(path) as reader:
        blocks = [block.mean(axis=0) if mono else block for block in reader]
        native_rate = reader.info.sample_rate
    audio = np.concatenate(blocks, axis=-1)
    if sample_rate is None:
        return audio, native_rate
    return resample(audio, native_rate, sample_rate), sample_rate


class AudioReader:
    """Streams a file's sound as float32 blocks [C, n] at its own rate, in constant memory.

    A context manager and an iterator (once). Pipes work: nothing seeks. Raises ClipsepError, when
    opened or while iterated, naming the file and the reason.
    """

    def __init__(self, path: str | Path, block_seconds: float = 1.0) -> None:
        """``block_seconds`` bounds a block's length (a single longer decoded frame stays whole)."""
        self._container = open_media(path)
        try:
            self._sound = SoundTrack(Path(path), self._container)
            self._pieces = self._decode()
            # The first decoded frame knows the true rate and layout; headers may not (HE-AAC).
            self._first = next(self._pieces)
        except BaseException:
            self._container.close()
            raise
        self.info = self._sound.info
        self._block_samples = max(1, round(block_seconds * self.info.sample_rate))

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        pending, length = [self._first], self._first.shape[1]
        for piece in self._pieces:
            if length + piece.shape[1] > self._block_samples:
                yield np.concatenate(pending, axis=1)
                pending, length = [], 0
            pending.append(piece)
            length += piece.shape[1]
        yield np.concatenate(pending, axis=1)

    def _decode(self) -> Iterator[np.ndarray]:
        for packet in demux(self._container, self._sound.path, self._sound.stream):
            yield from self._sound.feed(packet)
        self._sound.finish()


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
        kinds = container.format.name.split(",")
        self.stream = stream
        self.seconds, self.exact_duration = _declared_seconds(path, container, stream)
        self.has_video = picture_stream(container) is not None
        self._states_padding = "mov" in kinds
        self._longest_gap = min(_LONGEST_GAPS.get(kind, np.inf) for kind in kinds)
        self.info: AudioStreamInfo | None = None
        self.start_seconds = 0.0  # time of the first sample on the container's clock
        self._samples = 0
        self._end_seconds = 0.0
        self._broken_at: list[float] = []
        self._packer: av.AudioResampler | None = None
        self._held: np.ndarray | None = None  # see _hold_padding
        if stream.codec_context.name == "flac":
            # Without it ffmpeg decodes damaged FLAC frames to noise and says nothing.
            stream.codec_context.options = {"err_detect": "crccheck"}

    def feed(self, packet: av.Packet) -> list[np.ndarray]:
        """Decode one packet to float32 pieces [C, n]; raises ClipsepError for damaged sound."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            # Before the first frame it is harmless: tags, or a stream cut out of a broadcast.
            if self.info is not None:
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
        if self.info is None:
            raise self._soundless()
        read_seconds = max(self._samples / self.info.sample_rate, self._end_seconds)
        if self.exact_duration and read_seconds < 0.99 * self.seconds - 0.1:
            raise ClipsepError(
                f"{self.path} is truncated: it declares {self.seconds:.2f} s of sound but only "
                f"{read_seconds:.2f} s could be read; get a complete copy."
            )
        forgiving = self.stream.codec_context.name.startswith(_FORGIVING_CODECS)
        if len(self._broken_at) > (1 if forgiving else 0):
            raise self._damaged()

    def _convert(self, frame: av.AudioFrame) -> np.ndarray:
        start = float(frame.pts * frame.time_base) if frame.pts is not None else None
        if self.info is None:
            self.info = self._describe(frame)
            self.start_seconds = self._end_seconds = start or 0.0
        self._check_same(frame)
        if frame.format.is_planar and self.info.channels > _MOST_PLANES:
            self._packer = self._packer or av.AudioResampler(format=frame.format.packed)
            frame = self._packer.resample(frame)[0]
        piece = _to_float(frame)
        self._check_finite(piece)
        self._samples += piece.shape[1]
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
        return AudioStreamInfo(
            path=self.path,
            sample_rate=frame.sample_rate,
            channels=frame.layout.nb_channels,
            layout=_UNNAMED_LAYOUTS.get(frame.layout.name, frame.layout.name),
            seconds=self.seconds,
            exact_duration=self.exact_duration,
            has_video=self.has_video,
        )

    def _check_same(self, frame: av.AudioFrame) -> None:
        info = self.info
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if (rate, channels) != (info.sample_rate, info.channels):
            raise ClipsepError(
                f"{self.path} changes at {self._samples / info.sample_rate:.2f} s from "
                f"{info.sample_rate} Hz, {info.channels} channel(s) to {rate} Hz, {channels} "
                "channel(s): convert it to one format first."
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


def open_media(path: str | Path) -> av.container.InputContainer:
    """Open ``path`` with PyAV.

    Raises ClipsepError: missing, a folder, empty, unreadable, not media.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ClipsepError(f"{path} does not exist: check the name.") from None
    except (OSError, ValueError) as error:
        raise ClipsepError(f"{path} cannot be read ({_reason(error)}).") from error
    if stat.S_ISDIR(status.st_mode):
        raise ClipsepError(f"{path} is a folder: name a sound or video file in it.")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise ClipsepError(f"{path} is empty: choose a file that holds sound.")
    try:
        # "file:" keeps a colon in a name from being taken for a protocol.
        return av.open(
            f"file:{path}", options={"format_whitelist": _CONTAINERS}, metadata_errors="ignore"
        )
    except PermissionError as error:
        raise ClipsepError(f"{path} cannot be read: you have no permission to.") from error
    except (av.FFmpegError, ValueError) as error:
        raise ClipsepError(
            f"{path} is not a sound or video file that can be read, or its start or index is "
            "missing: convert it, or get a complete copy."
        ) from error


def demux(
    container: av.container.InputContainer, path: Path, *streams: av.stream.Stream
) -> Iterator[av.Packet]:
    """Yield the packets of ``streams``, reading errors turned into ClipsepError."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            raise ClipsepError(
                f"{path} is truncated or damaged: reading it failed ({_reason(error)}); "
                "get an intact copy."
            ) from error
        if packet is None:
            return
        yield packet


def picture_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures; cover art in a music file is not one."""
    attached = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & attached), None)


def _declared_seconds(
    path: Path, container: av.container.InputContainer, stream: av.AudioStream
) -> tuple[float | None, bool]:
    """The declared length of ``stream`` in seconds, and whether the file states it exactly.

    Raises ClipsepError if the file ends where its container says that it must go on.
    """
    kinds = container.format.name.split(",")
    exact = not _EXACT_CONTAINERS.isdisjoint(kinds)
    if path.is_file():  # a pipe cannot be read twice
        if "wav" in kinds and (seconds := headers.wav_seconds(path)):
            return seconds, True
        if "mp3" in kinds:
            exact = headers.mp3_states_length(path)
        if "ogg" in kinds and headers.ogg_ends_inside_page(path):
            raise ClipsepError(
                f"{path} is truncated: it ends in the middle of an Ogg page; get a complete copy."
            )
    if stream.duration:
        return float(stream.duration * stream.time_base), exact
    tagged = _parse_clock(stream.metadata.get("DURATION", ""))  # Matroska's length of one track
    if tagged:
        return tagged, exact
    if container.duration:
        # The length of the longest track: a sound beside a picture may rightly be shorter.
        return container.duration / av.time_base, exact and len(container.streams) == 1
    return None, False


def _parse_clock(text: str) -> float | None:
    """Seconds of a "01:02:03.5" clock, None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    """The samples of ``frame`` as float32 [C, n], full scale at 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = samples.dtype.str[1:]
    if kind == "u1":
        return (samples.astype(np.float32) - 128) / 128
    if kind in _INTEGER_SCALES:
        return (samples / _INTEGER_SCALES[kind]).astype(np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes inf and is reported as such
        return samples.astype(np.float32)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
