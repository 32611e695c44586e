"""Sample rate conversion with soxr, of a whole signal or block by block, to an exact length."""

from __future__ import annotations

import numpy as np
import soxr


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample ``audio`` ([C, T] or [T], float32) from ``rate_in`` to ``rate_out`` (Hz).

    Returns float32 of the same number of dimensions with round(T * rate_out / rate_in) samples.
    """
    if rate_in == rate_out:
        return audio
    resampled = np.ascontiguousarray(soxr.resample(audio.T, rate_in, rate_out).T)
    return _fit(resampled, round(audio.shape[-1] * rate_out / rate_in))


class StreamingResampler:
    """Resamples one channel block by block, in constant memory.

    The blocks returned add up to round(n * rate_out / rate_in) samples, where n is the number of
    samples pushed. With equal rates the blocks pass through unchanged.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        """``rate_in`` and ``rate_out`` in Hz."""
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.samples_in = 0
        self.samples_out = 0
        self._stream = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Take ``block`` ([n] float32, may be empty) and return what is ready ([m] float32).

        ``last`` ends the signal: what is left comes out and nothing may be pushed after it.
        """
        self.samples_in += len(block)
        ready = np.asarray(block, dtype=np.float32)
        if self._stream is not None:
            ready = self._stream.resample_chunk(ready, last=last)
        if last:
            total = round(self.samples_in * self.rate_out / self.rate_in)
            ready = _fit(ready, max(0, total - self.samples_out))
        self.samples_out += len(ready)
        return ready


def _fit(audio: np.ndarray, length: int) -> np.ndarray:
    """Cut or zero-pad the last axis of ``audio`` to ``length``: soxr may be off by one sample."""
    missing = length - audio.shape[-1]
    if missing <= 0:
        return audio[..., :length]
    return np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])
