"""Writing sound: block by block, under a temporary name that is renamed when all is well.

Channels and loudness stay as they are, and the rate too, unless a format does not have it (Opus has no
44.1 kHz).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError

from clipsep.errors import ClipsepError, UsageError
from clipsep.files import hold, not_written, remove_unfinished, unfinished
from clipsep.media.resampling import StreamingResampler
from clipsep.media.sound_track import AudioStreamInfo
from clipsep.media.writing.formats import OutputFormat, output_format
from clipsep.media.writing.sinks import FfmpegSink, VorbisSink
from clipsep.media.writing.tags import Tags
from clipsep.media.writing.video import VideoSink
from clipsep.messages import counted

_WAV_LIMIT_BYTES = 2**32 - 2**16  # the size fields of WAV are 32 bits wide; leave room for headers


class AudioWriter:
    """Writes float32 blocks [C, n] to ``path``; a context manager.

    On a clean exit the finished file takes its name; on an exception nothing is left behind and an
    older file of that name is untouched. ``clipped`` counts the samples that had to be clamped to
    [-1, 1], which every format but 32-bit float WAV requires. ``sample_rate`` is that of the file, in
    Hz; it differs from that of the blocks where the format does not have theirs.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        layout: str | None = None,
        format: str = "wav",
        expected_seconds: float | None = None,
        bit_depth: int | None = None,
        bit_rate: int | None = None,
        tags: Tags | None = None,
        video: AudioStreamInfo | None = None,
    ) -> None:
        """``sample_rate`` of the blocks in Hz; ``layout`` is ffmpeg's name, None for the usual one.

        ``expected_seconds`` is the length to come: a WAV known to stay below 4 GB gets a plain
        header, any other can grow into RF64. ``bit_depth`` and ``bit_rate`` as `output_format`.
        ``video`` is one whose frames are copied beside the audio; the format is then that of
        `clipsep.media.video_format`, and the rest is chosen by it.
        Raises UsageError for an unknown format or one that cannot hold this rate or these channels,
        ClipsepError if the file cannot be written.
        """
        self._description = None if video else output_format(format, bit_depth, bit_rate)
        self._bit_rate, self._tags, self._video = bit_rate, tags, video
        self.path = Path(path)
        self.format = format
        self.sample_rate = sample_rate
        self.channels = channels
        self.clipped = 0
        self._resamplers: list[StreamingResampler] = []  # one per channel, if the rate changes
        if self._description:
            self._check_limits(self._description)
        self._temporary = unfinished(self.path)
        self._sink: FfmpegSink | VorbisSink | VideoSink | None = None
        self._held: int | None = None
        try:
            check_writable(self.path)
            if self.path.is_dir():
                raise ClipsepError(f"{self.path} is a folder: name the file to write.")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.path.parent, {self.path.name})
            self._sink = self._open_sink(layout, expected_seconds)
            self._held = hold(self._temporary)
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
        if self._resamplers:
            block = self._resampled(block)
        self._write(block)

    def _resampled(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        pairs = zip(self._resamplers, block, strict=True)
        return np.stack([resampler.push(channel, last) for resampler, channel in pairs])

    def _write(self, block: np.ndarray) -> None:
        if not block.shape[1]:
            return
        if not self._description or self._description.codec != "pcm_f32le":
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = np.clip(block, -1, 1)
        assert self._sink is not None
        try:
            self._sink.write(np.ascontiguousarray(block.T, dtype=np.float32))
        except (OSError, FFmpegError, soundfile.SoundFileError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            os.replace(self.finish(), self.path)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error

    def finish(self) -> Path:
        """Finish the file, which its caller is to rename; returns the temporary name that it has."""
        try:
            if self._resamplers:
                self._write(self._resampled(np.zeros((self.channels, 0), np.float32), last=True))
            if self._sink is not None:
                self._sink.close()
            self._sink = None
            self._let_go()
            return self._temporary
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
        self._let_go()
        with contextlib.suppress(OSError):  # nothing was written, or nothing can be done about it
            self._temporary.unlink()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _check_limits(self, description: OutputFormat) -> None:
        codec = description.codec
        rates = sorted(av.Codec(codec, "w").audio_rates or []) if codec else []
        if rates and self.sample_rate not in rates:
            if description.other_rate is None:
                raise self._refusal(f"{self.sample_rate} Hz", rates)
            rate, self.sample_rate = self.sample_rate, description.other_rate
            self._resamplers = [
                StreamingResampler(rate, self.sample_rate) for _ in range(self.channels)
            ]
        if description.channels and self.channels not in description.channels:
            raise self._refusal(counted(self.channels, "channel"), description.channels)

    def _refusal(self, what: str, allowed: Sequence[int] = ()) -> UsageError:
        only = f", only {' or '.join(map(str, allowed))}" if allowed else ""
        return UsageError(
            f"{self.path.name} cannot be written: the format {self.format} cannot hold {what}{only}: "
            "choose another, such as wav."
        )

    def _open_sink(
        self, layout: str | None, seconds: float | None
    ) -> FfmpegSink | VorbisSink | VideoSink:
        if self._video:
            return self._open_video(self._video)
        description = self._description
        assert description is not None
        options = {"fflags": "+bitexact"}  # no encoder tags: the same sound gives the same bytes
        if self.format == "wav":
            sample_bytes = (description.bits or 32) // 8
            size = (seconds or np.inf) * self.sample_rate * self.channels * sample_bytes
            options["rf64"] = "never" if size < _WAV_LIMIT_BYTES else "auto"
        elif self.format == "m4a":
            # Its default of milliseconds would round the length of the sound.
            options["movie_timescale"] = str(self.sample_rate)
        refusal: Exception | None = None
        for name in _layout_names(layout, self.channels):
            try:
                if not description.codec:
                    return VorbisSink(self._temporary, self.sample_rate, self.channels, self._tags)
                return FfmpegSink(
                    self._temporary,
                    description,
                    self.sample_rate,
                    name,
                    options,
                    self._bit_rate,
                    self._tags,
                )
            except (FFmpegError, ValueError, soundfile.SoundFileError) as error:
                if isinstance(error, OSError):
                    raise
                refusal = error
        what = f"{counted(self.channels, 'channel')} at {self.sample_rate} Hz"
        raise self._refusal(what) from refusal

    def _open_video(self, video: AudioStreamInfo) -> VideoSink:
        try:
            return VideoSink(self._temporary, video, self.format, video.layout, self._tags)
        except (FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            raise UsageError(
                f"{video.path} cannot get another sound ({error}): leave out --video."
            ) from error

    def _failed(self, error: Exception) -> ClipsepError:
        return not_written(self.path, error)


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


def _layout_names(layout: str | None, channels: int) -> list[str]:
    """List the layouts to try for ``channels``: the given one first, then ffmpeg's usual one."""
    usual = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    names = [usual.get(channels, f"{channels} channels")]
    if layout and not layout.endswith(" channels") and layout != names[0]:
        names.insert(0, layout)
    return [name for name in names if av.AudioLayout(name).nb_channels == channels]
