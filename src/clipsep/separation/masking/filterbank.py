"""Applies masks to the STFT of a recording at its own rate, a few frames at a time, with overlap-add.

Its arrays are made once: most of the time of a plain version goes into fetching fresh memory.
"""

from __future__ import annotations

import numpy as np

from clipsep.spectral import SpectralSettings, bin_positions, frames_of, hann, rfft

# STFT frames that are filtered together: few enough that their spectra stay in the cache.
_FRAMES_AT_ONCE = 32
# In Hz. Recordings of a higher rate than the network's have the mean mask between the two above the first:
# resampling cuts what the network sees from there on, and one band should not decide for all above it.
_HELD_ABOVE, _HELD_FROM = 7300.0, 5500.0
# What these frames may take, for fewer of them where channels, rates or queries are many.
_BYTES_AT_ONCE = 1 << 26


class Filterbank:
    """Windowed STFT, masks, inverse STFT and overlap-add.

    At the network's own sample rate it is the STFT of its training. At others the hop is half a window
    instead of a quarter: half of the work, and SDRs that are the same (docs/speed.md).

    Args:
        settings: those of the network whose masks are applied.
        sample_rate: the recording's, in Hz.
        channels: C.

    Attributes:
        n_fft, hop: lengths in samples, see `native_stft`.
        most_frames: how many frames `apply` takes at once.
        overlap: windows over each sample, n_fft / hop.
    """

    def __init__(self, settings: SpectralSettings, sample_rate: int, channels: int):
        self.n_fft, self.hop = native_stft(settings, sample_rate)
        self.overlap = self.n_fft // self.hop
        # Products of both windows add up to 1 (half a window apart) or 3/2 (a quarter apart).
        self._window = hann(self.n_fft) if self.overlap == 4 else np.sqrt(hann(self.n_fft))
        self._synthesis_window = self._window / np.float32(1.5 if self.overlap == 4 else 1.0)
        bins = bin_positions(self.n_fft, sample_rate, settings.n_bands, settings.max_frequency)
        # Bins from here on all have one mask, which needs no interpolation.
        last = settings.n_bands - 1
        self._held = slice(last, None)
        n_between = int(np.sum(bins.lower + bins.upper_weight < last))
        if sample_rate > settings.sample_rate:
            share = settings.max_frequency / 8000
            edges = np.array([_HELD_FROM, _HELD_ABOVE]) * share * self.n_fft / sample_rate
            low, high = np.ceil(edges).astype(int)
            self._held = slice(int(bins.lower[low]), int(bins.lower[high]) + 1)
            n_between = int(high)
        self._n_between = n_between
        self._lower_band = bins.lower[:n_between]
        self._upper_band = self._lower_band + 1
        # Twice each: an interleaved spectrum has two numbers per bin, its real and imaginary part.
        self._upper_weight = np.repeat(bins.upper_weight[:n_between], 2)
        # Of each frame, itself, its spectrum and its masked spectrum are kept.
        fitting = _BYTES_AT_ONCE // (3 * 4 * channels * self.n_fft)
        self.most_frames = max(1, min(_FRAMES_AT_ONCE, fitting))
        shape = (channels, self.most_frames)
        self._frames = np.empty((*shape, self.n_fft), np.float32)
        self._spectrum = np.empty((*shape, self.n_fft // 2 + 1), np.complex64)
        self._masked = np.empty_like(self._spectrum)
        self._mask = np.empty((2, self.most_frames, n_between), np.complex64)
        self._tail: np.ndarray | None = None  # [N, C, overlap - 1, hop], not complete yet

    def frames_at_once(self, n_queries: int) -> int:
        """Return how many frames to filter together for a number of queries, within the memory allowed."""
        n_channels = len(self._frames)
        return max(
            1, min(self.most_frames, _BYTES_AT_ONCE // (4 * n_queries * n_channels * self.hop))
        )

    def apply(self, samples: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Filter the next frames.

        Args:
            samples: the recording from the first of these frames on, [C, at least (n - 1) hop + n_fft].
            masks: values at the frames, on the network's bands, [N, n, F] with n up to `most_frames`.

        Returns:
            the n hops of samples that are now complete, [N, C, n * hop].
        """
        n_queries, n, _ = masks.shape
        n_channels = len(samples)
        needed = samples[:, : (n - 1) * self.hop + self.n_fft]
        frames, spectrum = self._frames[:, :n], self._spectrum[:, :n]
        np.multiply(frames_of(needed, self.n_fft, self.hop), self._window, out=frames)
        rfft(frames, out=spectrum)
        late = self.overlap - 1  # hops that the last of these frames leave incomplete
        total = np.zeros((n_queries, n_channels, n + late, self.hop), np.float32)
        if self._tail is not None:
            total[:, :, :late] = self._tail
        masked = self._masked[:, :n]
        interleaved, product = spectrum.view(np.float32), masked.view(np.float32)
        between, above = np.s_[..., : 2 * self._n_between], np.s_[..., 2 * self._n_between :]
        for target, mask in zip(total, masks, strict=True):
            np.multiply(interleaved[between], self._interpolated(mask), out=product[between])
            held = mask[:, self._held].mean(axis=1, keepdims=True)
            np.multiply(interleaved[above], held, out=product[above])
            np.fft.irfft(masked, self.n_fft, out=frames)  # type: ignore[arg-type]  # float32 is fine
            np.multiply(frames, self._synthesis_window, out=frames)
            hops = frames.reshape(n_channels, n, self.overlap, self.hop)
            for number in range(self.overlap):
                target[:, number : number + n] += hops[:, :, number]
        self._tail = total[:, :, n:].copy()
        return total[:, :, :n].reshape(n_queries, n_channels, -1)

    def _interpolated(self, mask: np.ndarray) -> np.ndarray:
        """Read a mask [n, F] on bands at the bins up to the highest band, twice each, [n, 2 * bins]."""
        # [n, F] complex numbers whose two parts are alike
        twice = np.repeat(mask, 2, axis=1).view(np.complex64)
        pairs = self._mask[:, : len(mask)]
        # "clip" lets NumPy write into the arrays at once; no index is out of bounds.
        np.take(twice, self._lower_band, axis=1, out=pairs[0], mode="clip")
        np.take(twice, self._upper_band, axis=1, out=pairs[1], mode="clip")
        lower, upper = pairs.view(np.float32)
        upper -= lower
        upper *= self._upper_weight
        upper += lower
        return upper


def native_stft(settings: SpectralSettings, sample_rate: int) -> tuple[int, int]:
    """Window and hop, in samples, of the STFT that masks are applied to at ``sample_rate``.

    The network's own at its own rate. Elsewhere a window of about the same duration, a multiple of 16
    and without prime factors beyond 5, which keeps the FFT fast, and a hop of half of it.
    """
    if sample_rate == settings.sample_rate and settings.n_fft == 4 * settings.hop_length:
        return settings.n_fft, settings.hop_length
    wished = settings.n_fft * sample_rate / settings.sample_rate / 16
    smooth = [
        2**twos * 3**threes * 5**fives
        for twos in range(16)
        for threes in range(10)
        for fives in range(7)
    ]
    n_fft = 16 * min(smooth, key=lambda size: (abs(size - wished), size))
    return n_fft, n_fft // 2
