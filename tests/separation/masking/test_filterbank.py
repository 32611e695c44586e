"""What the filterbank does with a mask beyond the frequencies that the network hears."""

from __future__ import annotations

import numpy as np
import pytest

from clipsep.separation.masking.filterbank import Filterbank
from clipsep.spectral import SpectralSettings, bin_positions

SETTINGS = SpectralSettings()


def filtered_noise(mask: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Power spectra of a second of white noise and of what a mask [F] leaves of it."""
    bank = Filterbank(SETTINGS, sample_rate, channels=1)
    noise = np.random.default_rng(0).standard_normal((1, sample_rate)).astype(np.float32)
    parts = []
    for start in range(0, sample_rate - bank.n_fft, bank.hop):
        frame = noise[:, start : start + bank.n_fft]
        parts.append(bank.apply(frame, mask[None, None].astype(np.float32)))
    output = np.concatenate(parts, axis=-1)[0, 0]
    # The first three hops are covered by fewer windows than the others.
    inside = slice(3 * bank.hop, len(output))
    return tuple(np.abs(np.fft.rfft(x[inside])) ** 2 for x in (noise[0], output))


def gain(mask: np.ndarray, sample_rate: int, low: float, high: float) -> float:
    """Of the amplitude between two frequencies, in Hz."""
    before, after = filtered_noise(mask, sample_rate)
    place = slice(*(round(edge / sample_rate * 2 * (len(before) - 1)) for edge in (low, high)))
    return float(np.sqrt(after[place].sum() / before[place].sum()))


@pytest.mark.parametrize("sample_rate", [22_050, 44_100, 96_000])
def test_full_band_noise_above_the_networks_range_has_the_mean_mask_below_it(sample_rate: int):
    mask = np.zeros(SETTINGS.n_bands)
    bands = bin_positions(SETTINGS.n_fft, 16_000, SETTINGS.n_bands, 8000.0)
    frequency = np.arange(SETTINGS.n_fft // 2 + 1) * 16_000 / SETTINGS.n_fft
    held = (frequency > 5500) & (frequency < 7300)
    mask[bands.lower[held].min() : bands.lower[held].max() + 1] = 0.5
    top = 0.47 * sample_rate
    assert gain(mask, sample_rate, 8500, top) == pytest.approx(0.5, abs=0.03)
    # The highest bands, which resampling cuts, decide nothing.
    mask[bands.lower[frequency > 7500].min() :] = 1.0
    assert gain(mask, sample_rate, 8500, top) == pytest.approx(0.5, abs=0.03)


def test_at_the_networks_own_rate_every_band_counts():
    mask = np.zeros(SETTINGS.n_bands)
    mask[-1] = 1.0
    assert gain(mask, 16_000, 7990, 8000) > 0.9
