"""Separation of audio that arrives in blocks: masks from 16 kHz mono, applied at the native rate.

Two stages, both of constant memory: `MaskEstimator` turns mono samples into a sequence of mask frames,
`StreamingFilter` filters every channel of the original with them. Queries and files live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clipsep.media import StreamingResampler
from clipsep.spectral import (
    SpectralSettings,
    bin_positions,
    frames_of,
    hann,
    log_magnitude,
    stft,
)

# Log-magnitudes [1, 1, F, T] to masks [N, F, T], both float32.
MaskFunction = Callable[[np.ndarray], np.ndarray]
# STFT frames that are filtered together: few enough that their spectra stay in the cache.
_FRAMES_AT_ONCE = 64


def masks_of(logits: np.ndarray, binary: bool) -> np.ndarray:
    """Masks between 0 and 1 of logits, or of 0 and 1 alone; float32, same shape."""
    if binary:
        return (logits > 0).astype(np.float32)
    # As tanh, the logistic function never overflows.
    masks = np.tanh(0.5 * logits)
    masks *= 0.5
    masks += 0.5
    return masks


class MaskEstimator:
    """Mask frames of a mono signal at the network's rate, from overlapping cross-faded segments.

    STFT frames are those of the whole signal (zero-padded at its two ends only), whatever the sizes
    of the blocks. The last segment ends with the last frame, so that only a signal shorter than one
    segment needs filling up: it is repeated, as short clips are in training.

    Args:
        predict: the network with its queries.
        overlap: share of a segment that is cross-faded with the next one, in [0, 0.5].
    """

    def __init__(self, predict: MaskFunction, settings: SpectralSettings, overlap: float):
        self._predict, self._settings = predict, settings
        self._segment = settings.segment_frames
        self._step = self._segment - round(self._segment * overlap)
        # Samples from the start of the newest segment on; the zeros stand before the signal.
        self._samples = np.zeros(settings.n_fft // 2, np.float32)
        self._received = 0  # samples
        self._origin = 0  # frame at which the newest segment starts
        self._computed = 0  # frames whose mask was computed
        self._emitted = 0  # frames whose mask is final
        self._pending: np.ndarray | None = None  # masks of the frames between these two

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray | None:
        """Take samples [n]; return the mask frames [N, F, t] that are now final, or None."""
        self._received += len(samples)
        self._samples = np.concatenate([self._samples, samples])
        done = []
        while self._has_segment(self._next_start):
            start = self._next_start
            done.append(self._compute(start, emit_until=start + self._step))
        if last:
            done += self._finish()
        return np.concatenate(done, axis=-1) if done else None

    @property
    def _next_start(self) -> int:
        return self._origin + self._step if self._computed else 0

    def _has_segment(self, start: int) -> bool:
        return len(self._samples) >= self._offset(start) + self._segment_samples

    @property
    def _segment_samples(self) -> int:
        return (self._segment - 1) * self._settings.hop_length + self._settings.n_fft

    def _offset(self, frame: int) -> int:
        return (frame - self._origin) * self._settings.hop_length

    def _compute(self, start: int, emit_until: int) -> np.ndarray:
        """Masks of the segment that starts at frame ``start``; returns those that become final."""
        self._samples = self._samples[self._offset(start) :]
        self._origin = start
        masks = self._masks(self._samples[: self._segment_samples])[..., self._emitted - start :]
        if self._pending is not None:
            n = self._pending.shape[-1]
            rise = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
            faded = self._pending + rise * (masks[..., :n] - self._pending)
            masks = np.concatenate([faded, masks[..., n:]], axis=-1)
        n_final = emit_until - self._emitted
        final, self._pending = masks[..., :n_final], masks[..., n_final:]
        self._emitted, self._computed = emit_until, start + self._segment
        return final

    def _finish(self) -> list[np.ndarray]:
        """Masks of all frames that are left."""
        total = 1 + self._received // self._settings.hop_length
        if total < self._segment:
            signal = self._samples[self._settings.n_fft // 2 :]
            repeated = np.resize(signal, self._settings.segment_samples)
            return [self._masks(np.pad(repeated, self._settings.n_fft // 2))[..., :total]]
        self._samples = np.pad(self._samples, (0, self._settings.n_fft))
        done = []
        while self._computed < total:
            start = min(self._next_start, total - self._segment)
            last = start + self._segment == total
            done.append(self._compute(start, emit_until=total if last else start + self._step))
        return done

    def _masks(self, samples: np.ndarray) -> np.ndarray:
        """One segment, with its padding, through the network: [N, F, T]."""
        settings = self._settings
        spectrum = stft(samples, settings.n_fft, settings.hop_length, center=False)
        return self._predict(log_magnitude(spectrum, settings)[None, None])


class StreamingFilter:
    """Filters a recording of any rate and channel count by masks estimated on its mono mix.

    The recording's own STFT has a window of about the same duration as the network's; masks are
    interpolated at its frames and bins, and bins above the network's range get its highest band's.

    Args:
        sample_rate: of the recording, in Hz.
        channels: C.
    """

    def __init__(
        self,
        predict: MaskFunction,
        settings: SpectralSettings,
        sample_rate: int,
        channels: int,
        overlap: float = 0.25,
    ):
        self._settings, self._sample_rate = settings, sample_rate
        self._n_fft, self._hop = native_stft(settings, sample_rate)
        self._resampler = StreamingResampler(sample_rate, settings.sample_rate)
        self._estimator = MaskEstimator(predict, settings, overlap)
        self._window = hann(self._n_fft)
        # Four squared Hann windows, a quarter of a window apart, add up to 3/2 everywhere.
        self._synthesis_window = self._window / np.float32(1.5)
        # Twice each: an interleaved spectrum has two numbers per bin, its real and imaginary part.
        bins = bin_positions(self._n_fft, sample_rate, settings.n_bands, settings.max_frequency)
        self._lower_band = np.repeat(bins.lower, 2)
        self._upper_weight = np.repeat(bins.upper_weight, 2)
        # Three hops of zeros before the signal: then every sample lies in four windows.
        self._samples = np.zeros((channels, 3 * self._hop), np.float32)
        self._received = 0
        self._masks: np.ndarray | None = None  # [N, F, t], from mask frame `_first_mask` on
        self._first_mask = 0
        self._frame = 0  # next STFT frame to filter; frame 0 starts at the first zero
        self._tail: np.ndarray | None = None  # [N, C, 3 hops] of overlap-add not yet complete
        self._skip = 3 * self._hop  # samples of output that belong to the zeros before the signal
        self._emitted = 0

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray | None:
        """Take a block [C, n]; return the targets [N, C, m] that are now final, or None.

        ``m`` differs from ``n``: nothing comes out until one segment is in, everything with ``last``.
        """
        self._received += block.shape[1]
        self._samples = np.concatenate([self._samples, block], axis=1)
        mono = self._resampler.push(block.mean(axis=0), last=last)
        masks = self._estimator.push(mono, last=last)
        if masks is not None:
            self._masks = (
                masks if self._masks is None else np.concatenate([self._masks, masks], axis=-1)
            )
        if self._masks is None:
            return None
        return self._filter(last)

    def _filter(self, last: bool) -> np.ndarray | None:
        """Filter the STFT frames whose samples and masks are there: [N, C, m], or None."""
        count = self._frames_ready(last)
        if last:
            self._samples = np.pad(self._samples, [(0, 0), (0, 4 * self._hop)])
        if count <= 0:
            return None
        targets = []
        while count > 0:
            n = min(count, _FRAMES_AT_ONCE)
            targets.append(self._overlap_add(self._filter_frames(n), n))
            self._drop_used(n)
            count -= n
        out = np.concatenate(targets, axis=-1)
        out, self._skip = out[..., self._skip :], max(0, self._skip - out.shape[-1])
        if last:
            out = out[..., : self._received - self._emitted]
        self._emitted += out.shape[-1]
        return out

    def _frames_ready(self, last: bool) -> int:
        if last:
            return 4 + (self._received - 1) // self._hop - self._frame
        by_samples = (self._samples.shape[1] - self._n_fft) // self._hop + 1
        # A frame lies between two mask frames, and both must be there.
        end = self._first_mask + self._masks.shape[-1] - 1
        by_masks = int(end / self._mask_frames_per_hop) + 1 - self._frame
        return max(0, min(by_samples, by_masks))

    @property
    def _mask_frames_per_hop(self) -> float:
        settings = self._settings
        return self._hop / self._sample_rate * settings.sample_rate / settings.hop_length

    def _filter_frames(self, n: int) -> np.ndarray:
        """Windowed, masked time frames of the next ``n`` STFT frames, [N, C, n, n_fft]."""
        samples = self._samples[:, : (n - 1) * self._hop + self._n_fft]
        frames = frames_of(samples, self._n_fft, self._hop) * self._window  # [C, n, n_fft]
        spectrum = np.fft.rfft(frames)  # [C, n, n_fft // 2 + 1]
        parts = spectrum.view(np.float32)  # [C, n, 2 (n_fft // 2 + 1)], interleaved
        masks = self._native_masks(n)
        out = np.empty((len(masks), *frames.shape), np.float32)
        for target, mask in zip(out, masks, strict=True):
            masked = (parts * mask).view(np.complex64)
            np.multiply(np.fft.irfft(masked, self._n_fft), self._synthesis_window, out=target)
        return out

    def _native_masks(self, n: int) -> np.ndarray:
        """Masks of the next ``n`` STFT frames at their own bins, [N, n, 2 (n_fft // 2 + 1)]."""
        # Frame 0 is centred one hop before the first sample.
        frames = np.arange(self._frame - 1, self._frame - 1 + n)
        position = frames * self._mask_frames_per_hop - self._first_mask
        position = position.clip(0, self._masks.shape[-1] - 1)
        lower = position.astype(np.int64)
        upper = np.minimum(lower + 1, self._masks.shape[-1] - 1)
        fraction = (position - lower).astype(np.float32)
        first, second = self._masks[..., lower], self._masks[..., upper]  # [N, F, n]
        masks = np.ascontiguousarray((first + fraction * (second - first)).swapaxes(-1, -2))
        below, above = masks[..., self._lower_band], masks[..., self._lower_band + 1]
        above -= below
        above *= self._upper_weight
        above += below
        return above

    def _overlap_add(self, frames: np.ndarray, n: int) -> np.ndarray:
        """[N, C, n, n_fft] to the n hops of samples that are now complete, [N, C, n * hop]."""
        quarters = frames.reshape(*frames.shape[:-1], 4, self._hop)
        total = np.zeros((*frames.shape[:2], n + 3, self._hop), np.float32)
        for quarter in range(4):
            total[:, :, quarter : quarter + n] += quarters[..., quarter, :]
        if self._tail is not None:
            total[:, :, :3] += self._tail
        self._tail = total[:, :, n:].copy()
        return total[:, :, :n].reshape(*frames.shape[:2], -1)

    def _drop_used(self, n: int) -> None:
        self._samples = self._samples[:, n * self._hop :].copy()
        self._frame += n
        # Keep the mask frame just before the next STFT frame.
        needed = int((self._frame - 1) * self._mask_frames_per_hop)
        drop = min(max(0, needed - self._first_mask), self._masks.shape[-1] - 1)
        self._masks = self._masks[..., drop:].copy()
        self._first_mask += drop


def native_stft(settings: SpectralSettings, sample_rate: int) -> tuple[int, int]:
    """Window and hop, in samples, of the STFT that masks are applied to at ``sample_rate``.

    About the duration of the network's own, exactly its own at its own rate, and a multiple of 64, which
    keeps the FFT fast and the quarter hop whole.
    """
    n_fft = 64 * max(1, round(settings.n_fft * sample_rate / settings.sample_rate / 64))
    return n_fft, n_fft // 4
