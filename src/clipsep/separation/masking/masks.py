"""Masks of a mono signal that arrives in blocks, from overlapping segments through the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from clipsep.errors import ClipsepError, UsageError
from clipsep.spectral import SpectralSettings, log_magnitude, stft

# Log-magnitudes [1, 1, F, T] to masks [N, F, T], both float32.
MaskFunction = Callable[[np.ndarray], np.ndarray]
SHORTEST_LATENCY = 0.25  # seconds; below, the network would run for every second frame


def masks_of(logits: np.ndarray, binary: bool, model: str = "") -> np.ndarray:
    """Masks between 0 and 1 of logits, or of 0 and 1 alone; float32, same shape.

    Raises:
        ClipsepError: if a logit is not finite: such a mask would be taken for silence.
    """
    if not np.isfinite(logits).all():
        raise ClipsepError(
            f"The model '{model}' gives NaN or infinite values instead of masks: its weights are "
            "damaged, or its training went wrong."
        )
    if binary:
        return (logits > 0).astype(np.float32)
    masks = np.negative(logits)
    with np.errstate(over="ignore"):  # infinite, which becomes a mask of 0
        np.exp(masks, out=masks)
    masks += 1
    return np.reciprocal(masks, out=masks)


class MaskEstimator(ABC):
    """Mask frames of a mono signal at the network's rate.

    STFT frames are those of the whole signal (zero-padded at its two ends only), whatever the sizes
    of the blocks. A signal shorter than one segment is repeated, as short clips are in training.

    Args:
        predict: the network with its queries.
    """

    def __init__(self, predict: MaskFunction, settings: SpectralSettings):
        self._predict, self._settings = predict, settings
        self._segment = settings.segment_frames
        # Samples from frame `_origin` on; the zeros stand before the signal.
        self._samples = np.zeros(settings.n_fft // 2, np.float32)
        self._origin = 0
        self._received = 0  # samples
        self._emitted = 0  # frames whose mask is final
        self._pending: np.ndarray | None = None  # masks of later frames, [N, F, t]

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray | None:
        """Take samples [n]; return the mask frames [N, F, t] that are now final, or None."""
        self._received += len(samples)
        self._samples = np.concatenate([self._samples, samples])
        done = self._advance()
        if last:
            total = 1 + self._received // self._settings.hop_length
            self._samples = np.pad(self._samples, (0, self._settings.n_fft))
            done += self._finish(total)
        return np.concatenate(done, axis=-1) if done else None

    @abstractmethod
    def _advance(self) -> list[np.ndarray]:
        """Masks that became final by the samples that are there."""

    @abstractmethod
    def _finish(self, total: int) -> list[np.ndarray]:
        """Masks of all frames that are left, of ``total``."""

    def _complete_frames(self) -> int:
        """Frames of the signal, from its start on, of which every sample is there."""
        settings = self._settings
        return self._origin + 1 + (len(self._samples) - settings.n_fft) // settings.hop_length

    def _masks_until(self, end: int, n_samples: int | None = None) -> np.ndarray:
        """Masks of the segment that ends before frame ``end``, [N, F, at most a segment].

        Args:
            n_samples: length of a signal that is shorter than a segment.
        """
        settings, start = self._settings, end - self._segment
        padding = settings.n_fft // 2
        if start < 0:
            n_samples = n_samples or (end - 1) * settings.hop_length + padding
            signal = self._samples[padding : padding + n_samples]
            repeated = np.resize(signal, settings.segment_samples)
            return self._masks(np.pad(repeated, padding))[..., :end]
        self._samples = self._samples[(start - self._origin) * settings.hop_length :]
        self._origin = start
        length = (self._segment - 1) * settings.hop_length + settings.n_fft
        return self._masks(self._samples[:length])

    def _masks(self, samples: np.ndarray) -> np.ndarray:
        """One segment, with its padding, through the network: [N, F, T]."""
        settings = self._settings
        spectrum = stft(samples, settings.n_fft, settings.hop_length, center=False)
        return self._predict(log_magnitude(spectrum, settings)[None, None])

    def _emit(self, masks: np.ndarray, end: int, until: int) -> np.ndarray:
        """Cross-fade with what is pending; the masks [N, F, t] that are final before frame ``until``.

        Args:
            masks: those of a segment that ends before frame ``end``.
        """
        masks = masks[..., masks.shape[-1] - (end - self._emitted) :]
        if self._pending is not None:
            n = self._pending.shape[-1]
            rise = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
            faded = self._pending + rise * (masks[..., :n] - self._pending)
            masks = np.concatenate([faded, masks[..., n:]], axis=-1)
        final, self._pending = np.split(masks, [until - self._emitted], axis=-1)
        self._emitted = until
        return final


class SegmentMasks(MaskEstimator):
    """From segments that overlap a little: one pass of the network serves almost a segment.

    The last segment ends with the last frame.

    Args:
        overlap: share of a segment that is cross-faded with the next one, in [0, 0.5].
    """

    def __init__(self, predict: MaskFunction, settings: SpectralSettings, overlap: float):
        super().__init__(predict, settings)
        self._step = self._segment - round(self._segment * overlap)
        self._end = self._segment  # of the next segment

    def _advance(self) -> list[np.ndarray]:
        done = []
        while self._complete_frames() >= self._end:
            done.append(self._next(self._end, self._end - self._segment + self._step))
        return done

    def _next(self, end: int, until: int) -> np.ndarray:
        self._end = end + self._step
        return self._emit(self._masks_until(end), end, until)

    def _finish(self, total: int) -> list[np.ndarray]:
        if total <= self._segment and self._emitted == 0:
            return [self._masks_until(total, self._received)]
        done = []
        while self._emitted < total:
            end = min(self._end, total)
            is_last = end == total
            done.append(self._next(end, total if is_last else end - self._segment + self._step))
        return done


class LiveMasks(MaskEstimator):
    """From segments that end with the newest frames, so that a mask is final soon after its sound.

    Every few frames the network sees the newest segment, mostly audio that was heard before, and the
    masks of the newest frames wait for the next pass, which has heard what follows them.

    Args:
        latency: longest time, in seconds, from a sample to its separated sample.
    """

    def __init__(self, predict: MaskFunction, settings: SpectralSettings, latency: float):
        super().__init__(predict, settings)
        # Two windows and some of it are taken by the STFT of the network, that of the recording and the
        # resampling between them; half of the rest goes to what follows a frame.
        left = latency * settings.sample_rate - 2.25 * settings.n_fft
        frames = max(2, int(left / settings.hop_length))
        self._lookahead = frames // 2
        self._step = frames - self._lookahead
        self._end = frames

    def _advance(self) -> list[np.ndarray]:
        done = []
        while self._complete_frames() >= self._end:
            end, self._end = self._end, self._end + self._step
            done.append(self._emit(self._masks_until(end), end, end - self._lookahead))
        return done

    def _finish(self, total: int) -> list[np.ndarray]:
        return [self._emit(self._masks_until(total, self._received), total, total)]


def mask_estimator(
    predict: MaskFunction, settings: SpectralSettings, overlap: float, latency: float | None
) -> MaskEstimator:
    """Choose the estimator for a latency in seconds; None is that of whole segments, the most exact."""
    whole = settings.segment_samples / settings.sample_rate
    if latency is None or latency >= whole:
        return SegmentMasks(predict, settings, overlap)
    if not latency >= SHORTEST_LATENCY:
        raise UsageError(
            f"The latency is at least {SHORTEST_LATENCY} seconds, not {latency}: give more time."
        )
    return LiveMasks(predict, settings, latency)
