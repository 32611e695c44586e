"""Separation of sound that arrives in blocks: masks from 16 kHz mono, applied at the native rate.

Two stages, both of constant memory: `MaskStream` turns mono samples into a sequence of mask frames,
`MaskedStream` filters every channel of the original with them. Queries and files live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from clipsep.media import StreamingResampler
from clipsep.spectral import SpectralSettings, from_bands, log_magnitude, stft

# Log-magnitudes [1, 1, F, T] to masks [N, F, T] on the CPU.
MaskFunction = Callable[[torch.Tensor], torch.Tensor]


class MaskStream:
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
        self._pending: torch.Tensor | None = None  # masks of the frames between these two

    def push(self, samples: np.ndarray, last: bool = False) -> torch.Tensor | None:
        """Take samples [n]; return the mask frames [N, F, t] that are now final, or None."""
        self._received += len(samples)
        self._samples = np.concatenate([self._samples, samples])
        done = []
        while self._has_segment(self._next_start):
            start = self._next_start
            done.append(self._compute(start, emit_until=start + self._step))
        if last:
            done += self._finish()
        return torch.cat(done, dim=-1) if done else None

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

    def _compute(self, start: int, emit_until: int) -> torch.Tensor:
        """Masks of the segment that starts at frame ``start``; returns those that become final."""
        self._samples = self._samples[self._offset(start) :]
        self._origin = start
        masks = self._masks(self._samples[: self._segment_samples])[..., self._emitted - start :]
        if self._pending is not None:
            n = self._pending.shape[-1]
            rise = torch.arange(1, n + 1) / (n + 1)
            faded = torch.lerp(self._pending, masks[..., :n], rise)
            masks = torch.cat([faded, masks[..., n:]], dim=-1)
        final, self._pending = masks.split(
            [emit_until - self._emitted, start + self._segment - emit_until], dim=-1
        )
        self._emitted, self._computed = emit_until, start + self._segment
        return final

    def _finish(self) -> list[torch.Tensor]:
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

    def _masks(self, samples: np.ndarray) -> torch.Tensor:
        """One segment, with its padding, through the network: [N, F, T]."""
        settings = self._settings
        spectrum = stft(
            torch.from_numpy(samples), settings.n_fft, settings.hop_length, center=False
        )
        return self._predict(log_magnitude(spectrum, settings)[None, None])


class MaskedStream:
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
        self._mask_stream = MaskStream(predict, settings, overlap)
        self._window = torch.hann_window(self._n_fft)
        # Three hops of zeros before the signal: then every sample lies in four windows.
        self._samples = torch.zeros(channels, 3 * self._hop)
        self._received = 0
        self._masks: torch.Tensor | None = None  # [N, F, t], from mask frame `_first_mask` on
        self._first_mask = 0
        self._frame = 0  # next STFT frame to filter; frame 0 starts at the first zero
        self._tail: torch.Tensor | None = None  # [N, C, 3 hops] of overlap-add not yet complete
        self._skip = 3 * self._hop  # samples of output that belong to the zeros before the signal
        self._emitted = 0

    def push(self, block: np.ndarray, last: bool = False) -> torch.Tensor | None:
        """Take a block [C, n]; return the targets [N, C, m] that are now final, or None.

        ``m`` differs from ``n``: nothing comes out until one segment is in, everything with ``last``.
        """
        self._received += block.shape[1]
        self._samples = torch.cat([self._samples, torch.from_numpy(block)], dim=1)
        mono = self._resampler.push(block.mean(axis=0), last=last)
        masks = self._mask_stream.push(mono, last=last)
        if masks is not None:
            self._masks = masks if self._masks is None else torch.cat([self._masks, masks], dim=-1)
        if self._masks is None:
            return None
        return self._filter(last)

    def _filter(self, last: bool) -> torch.Tensor | None:
        """Filter the STFT frames whose samples and masks are there: [N, C, m], or None."""
        count = self._frames_ready(last)
        if last:
            self._samples = torch.nn.functional.pad(self._samples, (0, 4 * self._hop))
        targets = []
        # A few seconds at a time: at the end of a stream nothing more may come than in its middle.
        while count > 0:
            n = min(count, 256)
            targets.append(self._overlap_add(self._filter_frames(n), n))
            self._drop_used(n)
            count -= n
        if not targets:
            return None
        out = torch.cat(targets, dim=-1)
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

    def _filter_frames(self, n: int) -> torch.Tensor:
        """Windowed, masked time frames of the next ``n`` STFT frames, [N, C, n, n_fft]."""
        samples = self._samples[:, : (n - 1) * self._hop + self._n_fft]
        frames = samples.unfold(-1, self._n_fft, self._hop) * self._window  # [C, n, n_fft]
        mask = from_bands(self._interpolated(n), self._settings, self._n_fft, self._sample_rate)
        spectrum = (
            torch.fft.rfft(frames) * mask.transpose(-1, -2)[:, None]
        )  # [N, C, n, n_fft // 2 + 1]
        return torch.fft.irfft(spectrum, self._n_fft) * self._window

    def _interpolated(self, n: int) -> torch.Tensor:
        """Masks at the centres of the next ``n`` STFT frames, [N, F, n]."""
        # Frame 0 is centred one hop before the first sample.
        frames = torch.arange(self._frame - 1, self._frame - 1 + n, dtype=torch.float64)
        position = frames * self._mask_frames_per_hop - self._first_mask
        position = position.clamp(0, self._masks.shape[-1] - 1)
        lower = position.floor().long()
        upper = (lower + 1).clamp(max=self._masks.shape[-1] - 1)
        fraction = (position - lower).float()
        return torch.lerp(self._masks[..., lower], self._masks[..., upper], fraction)

    def _overlap_add(self, frames: torch.Tensor, n: int) -> torch.Tensor:
        """[N, C, n, n_fft] to the n hops of samples that are now complete, [N, C, n * hop]."""
        quarters = frames.unflatten(-1, (4, self._hop))
        total = frames.new_zeros(*frames.shape[:2], n + 3, self._hop)
        for quarter in range(4):
            total[:, :, quarter : quarter + n] += quarters[..., quarter, :]
        if self._tail is not None:
            total[:, :, :3] += self._tail
        self._tail = total[:, :, n:].clone()
        # Four squared Hann windows, a quarter of a window apart, add up to 3/2 everywhere.
        return total[:, :, :n].flatten(-2) / 1.5

    def _drop_used(self, n: int) -> None:
        self._samples = self._samples[:, n * self._hop :].clone()
        self._frame += n
        # Keep the mask frame just before the next STFT frame.
        needed = int((self._frame - 1) * self._mask_frames_per_hop)
        drop = min(max(0, needed - self._first_mask), self._masks.shape[-1] - 1)
        self._masks = self._masks[..., drop:].clone()
        self._first_mask += drop


def native_stft(settings: SpectralSettings, sample_rate: int) -> tuple[int, int]:
    """Window and hop, in samples, of the STFT that masks are applied to at ``sample_rate``.

    About the duration of the network's own, exactly its own at its own rate, and a multiple of 64, which
    keeps the FFT fast and the quarter hop whole.
    """
    n_fft = 64 * max(1, round(settings.n_fft * sample_rate / settings.sample_rate / 64))
    return n_fft, n_fft // 4
