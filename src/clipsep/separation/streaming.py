"""Separation of audio that arrives in blocks: masks from 16 kHz mono, applied at the native rate.

Two stages, both of constant memory: `MaskEstimator` turns mono samples into a sequence of mask frames,
`StreamingFilter` filters every channel of the original with them. Queries and files live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from clipsep.errors import ClipsepError
from clipsep.media import StreamingResampler
from clipsep.separation.filterbank import Filterbank
from clipsep.spectral import SpectralSettings, log_magnitude, stft

_BYTES_OF_PIECE = 1 << 26  # of targets that are handed on together
# Log-magnitudes [1, 1, F, T] to masks [N, F, T], both float32.
MaskFunction = Callable[[np.ndarray], np.ndarray]


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
        overlap: float = 0.125,
    ):
        self._settings, self._sample_rate = settings, sample_rate
        self._filterbank = Filterbank(settings, sample_rate, channels)
        self._hop = self._filterbank.hop
        self._resampler = StreamingResampler(sample_rate, settings.sample_rate)
        self._estimator = MaskEstimator(predict, settings, overlap)
        # Three hops of zeros before the signal: then every sample lies in four windows.
        self._samples = np.zeros((channels, 3 * self._hop), np.float32)
        self._received = 0
        # [N, t, F], from mask frame `_first_mask` on: frame after frame, as they are read.
        self._masks: np.ndarray | None = None
        self._first_mask = 0
        self._frame = 0  # next STFT frame to filter; frame 0 starts at the first zero
        self._skip = 3 * self._hop  # samples of output that belong to the zeros before the signal
        self._emitted = 0

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray | None:
        """Take a block [C, n]; return the targets [N, C, m] that are now final, or None.

        ``m`` differs from ``n``: nothing comes out until one segment is in, everything with ``last``.
        """
        pieces = list(self.pieces(block, last))
        return np.concatenate(pieces, axis=-1) if pieces else None

    def pieces(self, block: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        """As `push`, in pieces [N, C, m] of bounded size, whatever the queries, channels and rate.

        All of them must be taken before the next block is given.
        """
        self._received += block.shape[1]
        self._samples = np.concatenate([self._samples, block], axis=1)
        mono = self._resampler.push(block.mean(axis=0), last=last)
        masks = self._estimator.push(mono, last=last)
        if masks is not None:
            masks = np.ascontiguousarray(masks.swapaxes(1, 2))
            known = masks[:, :0] if self._masks is None else self._masks
            self._masks = np.concatenate([known, masks], axis=1)
        if self._masks is not None:
            yield from self._filter(last)

    def _filter(self, last: bool) -> Iterator[np.ndarray]:
        """Filter the STFT frames whose samples and masks are there."""
        count = self._frames_ready(last)
        if last:
            self._samples = np.pad(self._samples, [(0, 0), (0, 4 * self._hop)])
        at_once = self._filterbank.frames_at_once(len(self._masks))
        ready: list[np.ndarray] = []
        for start in range(0, count, at_once):
            n = min(count - start, at_once)
            samples = self._samples[:, start * self._hop :]
            ready.append(self._filterbank.apply(samples, self._masks_at(self._frame + start, n)))
            if sum(targets.nbytes for targets in ready) >= _BYTES_OF_PIECE:
                yield from self._next_piece(ready, last)
                ready = []
        if count > 0:
            self._drop_used(count)
        if ready:
            yield from self._next_piece(ready, last)

    def _next_piece(self, targets: list[np.ndarray], last: bool) -> Iterator[np.ndarray]:
        """Without the zeros before the signal and after it; nothing, if there is nothing else."""
        out = np.concatenate(targets, axis=-1)
        out, self._skip = out[..., self._skip :], max(0, self._skip - out.shape[-1])
        if last:
            out = out[..., : self._received - self._emitted]
        self._emitted += out.shape[-1]
        if out.shape[-1]:
            yield out

    def _frames_ready(self, last: bool) -> int:
        if last:
            return 4 + (self._received - 1) // self._hop - self._frame
        by_samples = (self._samples.shape[1] - self._filterbank.n_fft) // self._hop + 1
        # A frame lies between two mask frames, and both must be there.
        end = self._first_mask + self._masks.shape[1] - 1
        by_masks = int(end / self._mask_frames_per_hop) + 1 - self._frame
        return max(0, min(by_samples, by_masks))

    @property
    def _mask_frames_per_hop(self) -> float:
        settings = self._settings
        return self._hop / self._sample_rate * settings.sample_rate / settings.hop_length

    def _masks_at(self, frame: int, n: int) -> np.ndarray:
        """Masks at ``n`` STFT frames from ``frame`` on, [N, n, F]."""
        # Frame 0 is centred one hop before the first sample.
        position = np.arange(frame - 1, frame - 1 + n) * self._mask_frames_per_hop
        last = self._masks.shape[1] - 1
        position = (position - self._first_mask).clip(0, last)
        lower = position.astype(np.int64)
        fraction = (position - lower).astype(np.float32)[:, None]
        masks = self._masks[:, lower]
        if fraction.any():  # at the network's own rate, a mask is there for each frame
            masks += fraction * (self._masks[:, np.minimum(lower + 1, last)] - masks)
        return masks

    def _drop_used(self, n: int) -> None:
        self._samples = self._samples[:, n * self._hop :].copy()
        self._frame += n
        # Keep the mask frame just before the next STFT frame.
        needed = int((self._frame - 1) * self._mask_frames_per_hop)
        drop = min(max(0, needed - self._first_mask), self._masks.shape[1] - 1)
        self._masks = self._masks[:, drop:].copy()
        self._first_mask += drop
