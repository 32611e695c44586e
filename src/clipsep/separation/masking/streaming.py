"""Separation of audio that arrives in blocks: masks from 16 kHz mono, applied at the native rate.

`StreamingFilter` filters every channel of the original by the masks of its mono mix, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clipsep.media import StreamingResampler
from clipsep.separation.masking.filterbank import Filterbank
from clipsep.separation.masking.masks import MaskFunction, mask_estimator
from clipsep.spectral import SpectralSettings

_BYTES_OF_PIECE = 1 << 26  # of targets that are handed on together


class StreamingFilter:
    """Filters a recording of any rate and channel count by masks estimated on its mono mix.

    The recording's own STFT has a window of about the same duration as the network's; masks are
    interpolated at its frames and bins, and bins above the network's range get the mean mask of those
    below them, see `Filterbank`.

    Args:
        sample_rate: the recording's, in Hz.
        channels: C.
        overlap: share of a segment that is cross-faded with the next one, in [0, 0.5].
        latency: longest time from a sample to its separated sample, in seconds; None for the length of
            a segment, which gives the best masks.

    Raises:
        UsageError: for a latency that is too short.
    """

    def __init__(
        self,
        predict: MaskFunction,
        settings: SpectralSettings,
        sample_rate: int,
        channels: int,
        overlap: float = 0.125,
        latency: float | None = None,
    ):
        self._settings, self._sample_rate = settings, sample_rate
        self._filterbank = Filterbank(settings, sample_rate, channels)
        self._hop = self._filterbank.hop
        self._resampler = StreamingResampler(sample_rate, settings.sample_rate)
        self._estimator = mask_estimator(predict, settings, overlap, latency)
        self._overlap = self._filterbank.overlap
        # Zeros before the signal: then every sample lies in as many windows.
        self._skip = (self._overlap - 1) * self._hop  # samples of output that belong to them
        self._samples = np.zeros((channels, self._skip), np.float32)
        self._received = 0
        # [N, t, F], from mask frame `_first_mask` on: frame after frame, as they are read.
        self._masks = np.empty((0, 0, 0), np.float32)
        self._first_mask = 0
        self._frame = 0  # next STFT frame to filter; frame 0 starts at the first zero
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
            known = self._masks if len(self._masks) else masks[:, :0]
            self._masks = np.concatenate([known, masks], axis=1)
        if len(self._masks):
            yield from self._filter(last)

    def _filter(self, last: bool) -> Iterator[np.ndarray]:
        """Filter the STFT frames whose samples and masks are there."""
        count = self._frames_ready(last)
        if last:
            self._samples = np.pad(self._samples, [(0, 0), (0, self._filterbank.n_fft)])
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
            return self._overlap + (self._received - 1) // self._hop - self._frame
        by_samples = (self._samples.shape[1] - self._filterbank.n_fft) // self._hop + 1
        # A frame lies between two mask frames, and both must be there.
        end = self._first_mask + self._masks.shape[1] - 1
        by_masks = int(end / self._mask_frames_per_hop - self._first_centre) + 1 - self._frame
        return max(0, min(by_samples, by_masks))

    @property
    def _first_centre(self) -> float:
        """Where frame 0 is centred, in hops from the first sample on."""
        return 1 - self._overlap / 2

    @property
    def _mask_frames_per_hop(self) -> float:
        settings = self._settings
        return self._hop / self._sample_rate * settings.sample_rate / settings.hop_length

    def _masks_at(self, frame: int, n: int) -> np.ndarray:
        """Masks at ``n`` STFT frames from ``frame`` on, [N, n, F]."""
        centres = np.arange(frame, frame + n) + self._first_centre
        position = centres * self._mask_frames_per_hop
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
        needed = int((self._frame + self._first_centre) * self._mask_frames_per_hop)
        drop = min(max(0, needed - self._first_mask), self._masks.shape[1] - 1)
        self._masks = self._masks[:, drop:].copy()
        self._first_mask += drop
