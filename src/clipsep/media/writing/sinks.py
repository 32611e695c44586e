"""Encoders of float32 samples: ffmpeg's through PyAV, and libsndfile's for Ogg Vorbis.

They take samples that the format can hold, and know nothing of names or of what is a whole file.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError

from clipsep.media.writing.formats import OutputFormat
from clipsep.media.writing.tags import Tags

# What libsndfile knows of a Vorbis comment.
_VORBIS_TAGS = {"title", "artist", "album", "date", "genre", "comment", "copyright", "license"}


class FfmpegSink:
    """Encodes packed float samples [n, C] through PyAV."""

    def __init__(
        self,
        path: Path,
        description: OutputFormat,
        sample_rate: int,
        layout: str,
        options: dict[str, str],
        bit_rate: int | None = None,
        tags: Tags | None = None,
    ) -> None:
        """``bit_rate`` of all channels in kbit/s."""
        self._description = description
        self._sample_rate = sample_rate
        self._layout = layout
        self._written = 0
        self._container = av.open(
            str(path.absolute()), "w", format=description.container, options=options
        )
        try:
            stream = self._container.add_stream(description.codec, rate=sample_rate, layout=layout)
            assert isinstance(stream, av.AudioStream)
            self._stream = stream
            encoder = self._stream.codec_context
            encoder.format = description.sample_format
            if bit_rate:
                encoder.bit_rate = bit_rate * 1000
            elif description.bits_per_second:
                encoder.bit_rate = description.bits_per_second * encoder.channels
            elif description.codec == "libmp3lame":
                _set_mp3_quality(encoder)
            elif description.codec == "flac":
                # The usual size: by default frames last 105 ms, and ffmpeg then writes frames of
                # 192 kHz and six channels that it cannot read itself.
                encoder.options = {"frame_size": "4096"}
            if tags:
                tags.write_to(self._container)
            self._container.start_encoding()
        except BaseException:
            self.abort()
            raise

    def write(self, samples: np.ndarray) -> None:
        if self._description.bits:
            samples = _to_integers(samples, self._description.bits)
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


class VorbisSink:
    """Encodes samples [n, C] to Ogg Vorbis through libsndfile."""

    _SLICE = 4096  # libsndfile encodes a call's samples on the stack: long blocks overflow it

    def __init__(
        self, path: Path, sample_rate: int, channels: int, tags: Tags | None = None
    ) -> None:
        self._file = soundfile.SoundFile(
            path, "w", sample_rate, channels, format="OGG", subtype="VORBIS"
        )
        values = tags.values if tags else {}
        for name in _VORBIS_TAGS & values.keys():
            setattr(self._file, name, values[name])
        if "track" in values:
            self._file.tracknumber = values["track"]

    def write(self, samples: np.ndarray) -> None:
        for start in range(0, len(samples), self._SLICE):
            self._file.write(samples[start : start + self._SLICE])

    def close(self) -> None:
        self._file.close()

    abort = close


def _to_integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """Round samples rather than cut them, as encoders would; 24 bits stand in the upper part of 32."""
    top = 2 ** (bits - 1)
    scaled = np.clip(np.rint(samples.astype(np.float64) * top), -top, top - 1)
    return scaled.astype(np.int16) if bits == 16 else scaled.astype(np.int32) << 8


def _set_mp3_quality(encoder: av.AudioCodecContext) -> None:
    """Best quality that keeps the loudness: LAME scales by 0.95 at fixed rates below 192 kbit/s.

    MPEG-2 rates (below 32 kHz) stop at 160 kbit/s, so they get the best variable bit rate.
    """
    if encoder.sample_rate >= 32_000:
        encoder.bit_rate = 256_000
    else:
        encoder.qscale = True
        encoder.options = {"global_quality": "0"}
