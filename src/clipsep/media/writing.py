"""Writing sound: block by block, under a temporary name that is renamed when all is well.

It knows output formats and their limits; it never changes rate, channels or loudness.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError

from clipsep.errors import ClipsepError, UsageError

_WAV_LIMIT_BYTES = 2**32 - 2**16  # the size fields of WAV are 32 bits wide; leave room for headers


@dataclass(frozen=True)
class OutputFormat:
    """How one kind of file is written: ffmpeg's container, encoder and the encoder's sample format.

    ``bits_per_second`` is per channel, for lossy encoders; an empty ``codec`` means libsndfile.
    ``channels`` are the numbers of channels it holds in their right order, empty for any.
    """

    container: str
    codec: str
    sample_format: str = "flt"
    bits_per_second: int | None = None
    channels: tuple[int, ...] = ()


OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "wav": OutputFormat("wav", "pcm_f32le"),
    "flac": OutputFormat("flac", "flac", sample_format="s32"),
    "mp3": OutputFormat("mp3", "libmp3lame", "fltp", channels=(1, 2)),
    # ffmpeg's own Vorbis encoder is experimental; libsndfile has the real one, but keeps WAV's
    # order of channels, which is not that of Vorbis beyond stereo.
    "ogg": OutputFormat("ogg", "", channels=(1, 2)),
    # ffmpeg's libopus wrapper permutes the channels of some rarer layouts.
    "opus": OutputFormat("opus", "libopus", bits_per_second=96_000, channels=(1, 2, 6, 8)),
    "m4a": OutputFormat("ipod", "aac", "fltp", bits_per_second=128_000),
}


class AudioWriter:
    """Writes float32 blocks [C, n] to ``path``; a context manager.

    On a clean exit the finished file takes its name; on an exception nothing is left behind and an
    older file of that name is untouched. ``clipped`` counts the samples that had to be clamped to
    [-1, 1], which every format but 32-bit float WAV requires.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        layout: str | None = None,
        format: str = "wav",
        expected_seconds: float | None = None,
    ) -> None:
        """``sample_rate`` in Hz; ``layout`` is ffmpeg's name, None for the usual one.

        ``expected_seconds`` is the length to come: a WAV known to stay below 4 GB gets a plain
        header, any other can grow into RF64. Raises UsageError for an unknown format or one that
        cannot hold this rate or these channels, ClipsepError if the file cannot be written.
        """
        if format not in OUTPUT_FORMATS:
            raise UsageError(
                f"unknown output format '{format}': choose one of {', '.join(OUTPUT_FORMATS)}."
            )
        self.path = Path(path)
        self.format = format
        self.sample_rate = sample_rate
        self.channels = channels
        self.clipped = 0
        self._check_limits()
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        self._sink = None
        try:
            check_writable(self.path)
            if self.path.is_dir():
                raise ClipsepError(f"{self.path} is a folder: name the file to write.")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = self._open_sink(layout, expected_seconds)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, block: np.ndarray) -> None:
        """Append ``block``, float32 [C, n]. Raises ClipsepError if the disk refuses it."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, n], got {list(block.shape)}")
        if not block.shape[1]:
            return
        if self.format != "wav":
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = np.clip(block, -1, 1)
        try:
            self._sink.write(np.ascontiguousarray(block.T, dtype=np.float32))
        except (OSError, FFmpegError, soundfile.SoundFileError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._sink.close()
            self._sink = None
            os.replace(self._temporary, self.path)
        except (OSError, FFmpegError, soundfile.SoundFileError) as error:
            self.discard()
            raise self._failed(error) from error
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Drop what was written so far."""
        if self._sink is not None:
            self._sink.abort()
            self._sink = None
        with contextlib.suppress(OSError):  # nothing was written, or nothing can be done about it
            self._temporary.unlink()

    def _check_limits(self) -> None:
        description = OUTPUT_FORMATS[self.format]
        codec = description.codec
        rates = sorted(av.Codec(codec, "w").audio_rates or []) if codec else []
        if rates and self.sample_rate not in rates:
            raise self._refusal(f"{self.sample_rate} Hz", rates)
        if description.channels and self.channels not in description.channels:
            raise self._refusal(f"{self.channels} channel(s)", description.channels)

    def _refusal(self, what: str, allowed: Sequence[int] = ()) -> UsageError:
        only = f" (only {', '.join(map(str, allowed))})" if allowed else ""
        return UsageError(
            f"{self.format} cannot hold {what}{only}: choose another format, such as wav, for "
            f"{self.path.name}."
        )

    def _open_sink(self, layout: str | None, seconds: float | None) -> _FfmpegSink | _VorbisSink:
        description = OUTPUT_FORMATS[self.format]
        options = {"fflags": "+bitexact"}  # no encoder tags: the same sound gives the same bytes
        if self.format == "wav":
            size = (seconds or np.inf) * self.sample_rate * self.channels * 4
            options["rf64"] = "never" if size < _WAV_LIMIT_BYTES else "auto"
        elif self.format == "m4a":
            # Its default of milliseconds would round the length of the sound.
            options["movie_timescale"] = str(self.sample_rate)
        refusal: Exception | None = None
        for name in _layout_names(layout, self.channels):
            try:
                if not description.codec:
                    return _VorbisSink(self._temporary, self.sample_rate, self.channels)
                return _FfmpegSink(self._temporary, description, self.sample_rate, name, options)
            except (FFmpegError, ValueError, soundfile.SoundFileError) as error:
                if isinstance(error, OSError):
                    raise
                refusal = error
        what = f"{self.channels} channel(s) at {self.sample_rate} Hz"
        raise self._refusal(what) from refusal

    def _failed(self, error: Exception) -> ClipsepError:
        reason = getattr(error, "strerror", None) or str(error)
        return ClipsepError(
            f"{self.path} could not be written ({reason}): check the folder and the free space."
        )


class _FfmpegSink:
    """Encodes packed float samples [n, C] through PyAV."""

    def __init__(
        self,
        path: Path,
        description: OutputFormat,
        sample_rate: int,
        layout: str,
        options: dict[str, str],
    ) -> None:
        self._description = description
        self._sample_rate = sample_rate
        self._layout = layout
        self._written = 0
        self._container = av.open(
            str(path.absolute()), "w", format=description.container, options=options
        )
        try:
            self._stream = self._container.add_stream(
                description.codec, rate=sample_rate, layout=layout
            )
            encoder = self._stream.codec_context
            encoder.format = description.sample_format
            if description.bits_per_second:
                encoder.bit_rate = description.bits_per_second * encoder.channels
            elif description.codec == "libmp3lame":
                _set_mp3_quality(encoder)
            elif description.codec == "flac":
                # The usual size: by default frames last 105 ms, and ffmpeg then writes frames of
                # 192 kHz and six channels that it cannot read itself.
                encoder.options = {"frame_size": "4096"}
            self._container.start_encoding()
        except BaseException:
            self.abort()
            raise

    def write(self, samples: np.ndarray) -> None:
        if self._description.sample_format == "s32":
            # 24 significant bits in the upper part of 32, rounded rather than cut by the encoder.
            scaled = np.rint(samples.astype(np.float64) * 2**23)
            samples = np.clip(scaled, -(2**23), 2**23 - 1).astype(np.int32) << 8
        # Interleaved in any case: the stream makes it planar where the encoder wants that.
        packed = self._description.sample_format.rstrip("p")
        frame = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1), format=packed, layout=self._layout
        )
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._written  # lets the muxer note the encoder's delay, for readers to skip
        self._written += len(samples)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abort(self) -> None:
        # Whatever closing has to say, the file is about to be removed.
        with contextlib.suppress(OSError, FFmpegError, ValueError):
            self._container.close()


class _VorbisSink:
    """Encodes samples [n, C] to Ogg Vorbis through libsndfile."""

    _SLICE = 4096  # libsndfile encodes a call's samples on the stack: long blocks overflow it

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self._file = soundfile.SoundFile(
            path, "w", sample_rate, channels, format="OGG", subtype="VORBIS"
        )

    def write(self, samples: np.ndarray) -> None:
        for start in range(0, len(samples), self._SLICE):
            self._file.write(samples[start : start + self._SLICE])

    def close(self) -> None:
        self._file.close()

    abort = close


def check_writable(path_or_dir: str | Path) -> None:
    """Raise ClipsepError if nothing could be written at ``path_or_dir``; creates nothing.

    An existing folder is checked itself; for anything else, the nearest folder above it that
    exists, where the missing ones would be created.
    """
    folder = Path(path_or_dir).absolute()
    if not folder.is_dir():
        folder = folder.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ClipsepError(f"{path_or_dir} cannot be written: {folder} is not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ClipsepError(
            f"{path_or_dir} cannot be written: you have no permission to write in {folder}."
        )


def _set_mp3_quality(encoder: av.AudioCodecContext) -> None:
    """Best quality that keeps the loudness: LAME scales by 0.95 at fixed rates below 192 kbit/s.

    MPEG-2 rates (below 32 kHz) stop at 160 kbit/s, so they get the best variable bit rate.
    """
    if encoder.sample_rate >= 32_000:
        encoder.bit_rate = 256_000
    else:
        encoder.qscale = True
        encoder.options = {"global_quality": "0"}


def _layout_names(layout: str | None, channels: int) -> list[str]:
    """The layouts to try for ``channels``: the asked one first, then ffmpeg's usual one."""
    usual = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    names = [usual.get(channels, f"{channels} channels")]
    if layout and not layout.endswith(" channels") and layout != names[0]:
        names.insert(0, layout)
    return [name for name in names if av.AudioLayout(name).nb_channels == channels]
