"""What a caller may pass as a recording: files, and arrays of any kind, as float32 in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError, UsageError
from clipsep.media import AudioReader
from clipsep.messages import counted

LOUDEST_SAMPLE = 1e12  # full scale is 1; sums of squares stay far from the limits of float32
_MOST_CHANNELS = 64


class Source:
    """A file, or a waveform [T] or [C, T], as blocks.

    Args:
        sample_rate: rate of a waveform, in Hz; a file has its own.
        start, end: limits of the part of a file that counts, in seconds.

    Attributes:
        path: where the file is; None for a waveform.
        title: what a message calls it.
        seconds: its length; None for a file that does not state it.

    Raises:
        UsageError: for what is neither, a wrong rate, or a part that lies after a file's end.
        ClipsepError: if a file cannot be read.
    """

    def __init__(
        self, recording: Any, sample_rate: Any, start: float | None = None, end: float | None = None
    ):
        self._reader: AudioReader | None = None
        self._blocks: Iterable[np.ndarray]
        self.path: Path | None = None
        self.seconds: float | None
        if isinstance(recording, str | Path):
            self.path, self.title = Path(recording), str(recording)
            self._blocks = self._reader = AudioReader(self.path, start=start, end=end)
            self.sample_rate = self._reader.info.sample_rate
            self.seconds = self._reader.info.seconds
            return
        if sample_rate is None:
            raise UsageError("A waveform needs its sample rate beside it.")
        self.title, self.sample_rate = "The recording", as_sample_rate(sample_rate)
        waveform = as_waveform(recording)
        self._blocks, self.seconds = [waveform], waveform.shape[-1] / self.sample_rate

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader:
            self._reader.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._blocks)


def is_list_of_recordings(value: Any) -> bool:
    """Whether it is a list or tuple of recordings; one of numbers, or of lists of them, is a waveform."""
    return isinstance(value, list | tuple) and not any(
        isinstance(one, Real | list | tuple) for one in value
    )


def as_waveform(sound: Any) -> np.ndarray:
    """Sound as float32 [T] or [C, T].

    Integers of up to 32 bits are scaled to [-1, 1]. PyTorch tensors may be on any device, of any
    precision, and part of a graph.

    Raises:
        UsageError: if it is not an array of real numbers, or of another shape.
    """
    if isinstance(sound, str | bytes) or hasattr(sound, "__fspath__"):
        raise UsageError("A file is not a waveform: pass an array, or use separate_file.")
    try:
        if hasattr(sound, "detach"):  # a tensor, known without importing PyTorch
            sound = sound.detach().cpu()
            sound = sound.float() if sound.is_floating_point() else sound
        array = np.asarray(sound)
    except (TypeError, ValueError, NotImplementedError) as error:  # the last: no numbers on "meta"
        raise UsageError(f"A waveform is an array of numbers: {error}.") from error
    if array.dtype.kind not in "fiu" or (array.dtype.itemsize > 4 and array.dtype.kind != "f"):
        raise UsageError(
            f"A waveform has floating-point numbers, or integers of up to 32 bits, not {array.dtype}: "
            "convert it to float32 between -1 and 1."
        )
    _check_shape(array.shape)
    if array.dtype.kind != "f":
        return _scaled(array)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as that
        return array.astype(np.float32, copy=False)


def as_sample_rate(rate: Any) -> int:
    """Check a sample rate in Hz; UsageError if it is not a positive whole number."""
    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not is_number or not math.isfinite(rate) or rate <= 0 or rate != int(rate):
        raise UsageError(f"A sample rate is a positive whole number of Hz, not {rate!r}.")
    return int(rate)


def check_samples(block: np.ndarray, received: int, sample_rate: int) -> None:
    """Raise ClipsepError for samples [C, n] that are not numbers or far beyond full scale.

    Args:
        received: samples before them.
    """
    if not np.abs(block).max(initial=0.0) <= LOUDEST_SAMPLE:  # NaN compares false
        first = int(np.argmin((np.abs(block) <= LOUDEST_SAMPLE).all(axis=0)))
        finite = np.isfinite(block[:, first]).all()
        problem = f"samples beyond {LOUDEST_SAMPLE:.0e}" if finite else "NaN or infinite samples"
        raise ClipsepError(
            f"The recording has {problem}, first at {(received + first) / sample_rate:.3f} s: repair it "
            "first."
        )


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2):
        raise UsageError(f"A waveform has the shape [T] or [C, T], not {list(shape)}.")
    if len(shape) == 1:
        return
    if shape[0] == 0:
        raise UsageError("A waveform of the shape [C, T] has at least one channel, not 0.")
    if shape[0] > _MOST_CHANNELS and shape[1] <= _MOST_CHANNELS:
        raise UsageError(
            f"The shape {list(shape)} looks like [T, C], as soundfile reads it: pass waveform.T, which "
            "is [C, T]."
        )
    if shape[0] > _MOST_CHANNELS:
        raise UsageError(
            f"A waveform has at most {_MOST_CHANNELS} channels, not {shape[0]} (its shape is [C, T])."
        )


def _scaled(array: np.ndarray) -> np.ndarray:
    limits = np.iinfo(array.dtype)
    half = 2.0 ** (limits.bits - 1)
    offset = half if limits.min == 0 else 0.0  # unsigned: silence is in the middle
    return ((array.astype(np.float64) - offset) / half).astype(np.float32)


def same_channels(samples: np.ndarray, channels: int | None) -> int:
    """Count the channels of samples [C, n]; UsageError if blocks before them had another number."""
    if channels not in (None, len(samples)):
        raise UsageError(
            f"A block has {counted(len(samples), 'channel')}, those before had {channels}."
        )
    return len(samples)
