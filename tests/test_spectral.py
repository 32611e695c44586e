"""Laws of the STFT, the logarithmic bands and the masks that go through them.

They are stated for PyTorch; the last tests hold the NumPy functions of the core to the same numbers.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipsep import spectral
from clipsep.models.transforms import (
    apply_mask,
    from_bands,
    istft,
    log_magnitude,
    stft,
    to_bands,
    unwarp_matrix,
    warp_matrix,
)
from clipsep.spectral import SpectralSettings

SETTINGS = SpectralSettings()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(*shape, generator=generator)


def spectrum_of(waveform: torch.Tensor) -> torch.Tensor:
    return stft(waveform, SETTINGS.n_fft, SETTINGS.hop_length)


# STFT


@pytest.mark.parametrize("samples", [65535, 16000, 12345])
def test_round_trip(samples: int):
    waveform = noise(2, 3, samples)
    back = istft(spectrum_of(waveform), SETTINGS.n_fft, SETTINGS.hop_length, samples)
    assert back.shape == waveform.shape
    assert (back - waveform).abs().max() < 1e-6


def test_column_is_the_windowed_spectrum_around_its_centre():
    """Periodic Hann, frame t around sample t * hop, zeros beyond the ends (as librosa 0.9 does)."""
    waveform = noise(8000)
    columns = spectrum_of(waveform)
    half = SETTINGS.n_fft // 2
    padded = np.pad(waveform.numpy(), half)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SETTINGS.n_fft) / SETTINGS.n_fft)
    for t in (0, 1, 10, columns.shape[-1] - 1):
        start = t * SETTINGS.hop_length
        expected = np.fft.rfft(window * padded[start : start + SETTINGS.n_fft])
        assert np.abs(columns[:, t].numpy() - expected).max() < 1e-4


def test_without_centring_columns_start_at_the_first_sample():
    waveform = noise(4096)
    plain = stft(waveform, 1024, 256, center=False)
    centred = stft(waveform, 1024, 256)
    assert plain.shape[-1] == (4096 - 1024) // 256 + 1
    torch.testing.assert_close(plain, centred[:, 2 : 2 + plain.shape[-1]])


def test_segment_is_the_longest_with_its_number_of_frames():
    samples = SETTINGS.segment_samples
    assert samples == 65535
    assert spectrum_of(noise(samples)).shape == (513, 256)
    assert spectrum_of(noise(samples + 1)).shape == (513, 257)


# Network input


@pytest.mark.parametrize("gain", [0.03, 0.5, 20.0])
def test_relative_level_does_not_see_loudness(gain: float):
    settings = SpectralSettings(level="relative")
    spectrum = spectrum_of(noise(2, 30000))
    quiet, loud = log_magnitude(spectrum, settings), log_magnitude(gain * spectrum, settings)
    torch.testing.assert_close(loud, quiet, atol=1e-4, rtol=0)
    unit = spectrum / spectrum.abs().square().mean(dim=(-2, -1), keepdim=True).sqrt()
    torch.testing.assert_close(quiet, log_magnitude(unit, SETTINGS), atol=1e-4, rtol=0)


def test_relative_level_is_that_of_each_segment():
    settings = SpectralSettings(level="relative")
    spectra = spectrum_of(noise(2, 30000) * torch.tensor([[1.0], [10.0]]))
    together = log_magnitude(spectra, settings)
    for index in range(2):
        torch.testing.assert_close(together[index], log_magnitude(spectra[index], settings))


def test_absolute_level_moves_with_loudness():
    spectrum = spectrum_of(noise(30000))
    difference = log_magnitude(2 * spectrum, SETTINGS) - log_magnitude(spectrum, SETTINGS)
    torch.testing.assert_close(
        difference, torch.full_like(difference, math.log(2)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("level", ["absolute", "relative"])
def test_silence_is_the_floor(level: str):
    settings = SpectralSettings(level=level)
    silence = log_magnitude(spectrum_of(torch.zeros(20000)), settings)
    assert silence.isfinite().all()
    assert float(silence.max()) == pytest.approx(math.log(1e-10), abs=1e-3)


# Bands


def test_bands_sit_at_the_published_frequencies():
    """An image that is its own frequency is read at (21^((y+1)/2) - 11) / 10, y from -1 to 1."""
    frequency = torch.linspace(-1, 1, 513)[:, None]
    band = torch.linspace(-1, 1, 256, dtype=torch.float64)
    expected = (21 ** ((band + 1) / 2) - 11) / 10
    read = to_bands(frequency, SETTINGS)[:, 0].double()
    torch.testing.assert_close(read, expected, atol=1e-6, rtol=0)


def test_bins_read_the_bands_at_the_inverse_positions():
    band = torch.linspace(-1, 1, 256)[:, None]
    frequency = torch.linspace(-1, 1, 513, dtype=torch.float64)
    expected = 2 * torch.log(10 * frequency + 11) / math.log(21) - 1
    read = from_bands(band, SETTINGS)[:, 0].double()
    torch.testing.assert_close(read, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("sample_rate", "n_fft"), [(16000, 1024), (44100, 2822), (8000, 512)])
def test_interpolation_keeps_constants(sample_rate: int, n_fft: int):
    for matrix in (
        warp_matrix(n_fft // 2 + 1, 256),
        unwarp_matrix(n_fft, sample_rate, 256, SETTINGS.max_frequency),
    ):
        assert (matrix >= 0).all()
        assert (matrix.sum(dim=1) - 1).abs().max() < 1e-6


def test_smooth_masks_survive_the_way_to_bins_and_back():
    band = torch.linspace(0, 1, 256)[:, None]
    mask = 0.5 + 0.4 * torch.sin(2 * math.pi * (3 * band + torch.linspace(0, 1, 7)))
    back = to_bands(from_bands(mask, SETTINGS), SETTINGS)
    assert (back - mask).abs().max() < 0.01


@pytest.mark.parametrize(("sample_rate", "n_fft"), [(44100, 2822), (48000, 3072)])
def test_bins_above_the_networks_range_get_its_top_band(sample_rate: int, n_fft: int):
    mask = torch.rand(256, 5, generator=torch.Generator().manual_seed(0))
    linear = from_bands(mask, SETTINGS, n_fft, sample_rate)
    frequency = torch.arange(n_fft // 2 + 1) * sample_rate / n_fft
    above = frequency >= 8000
    assert above.any() and linear.shape == (n_fft // 2 + 1, 5)
    torch.testing.assert_close(linear[above], mask[-1:].expand(int(above.sum()), -1))
    assert (linear[~above][-2] - mask[-1]).abs().max() > 1e-3


def test_same_frequency_same_mask_at_any_rate():
    mask = torch.rand(256, 5, generator=torch.Generator().manual_seed(0))
    own = from_bands(mask, SETTINGS)
    torch.testing.assert_close(from_bands(mask, SETTINGS, 3072, 48000)[:513], own)
    torch.testing.assert_close(from_bands(mask, SETTINGS, 2048, 16000)[::2], own)
    torch.testing.assert_close(from_bands(mask, SETTINGS, 512, 8000), own[:257])


def test_masks_of_one_and_zero():
    waveform = noise(3, 20000)
    spectrum = spectrum_of(waveform)
    ones = torch.ones(3, 256, spectrum.shape[-1])
    assert (apply_mask(spectrum, ones, SETTINGS, 20000) - waveform).abs().max() < 1e-6
    assert not apply_mask(spectrum, 0 * ones, SETTINGS, 20000).any()


def test_mask_keeps_what_it_names():
    """A low and a high tone; a mask on the lower bands leaves the low one."""
    time = torch.arange(32000) / 16000
    low, high = torch.sin(2 * math.pi * 300 * time), torch.sin(2 * math.pi * 5000 * time)
    spectrum = spectrum_of(low + high)
    mask = torch.zeros(256, spectrum.shape[-1])
    mask[to_bands((torch.arange(513.0) * 15.625)[:, None], SETTINGS)[:, 0] < 1500] = 1
    kept = apply_mask(spectrum, mask, SETTINGS, 32000)
    inner = slice(1024, -1024)
    assert (kept - low)[inner].abs().max() < 0.01


# NumPy


@pytest.mark.parametrize("center", [True, False])
def test_numpy_gives_the_same_spectra(center: bool):
    waveform = noise(2, 20000)
    expected = stft(waveform, 1024, 256, center).numpy()
    spectrum = spectral.stft(waveform.numpy(), 1024, 256, center)
    assert spectrum.dtype == np.complex64 and spectrum.shape == expected.shape
    assert np.abs(spectrum - expected).max() < 1e-5
    if center:
        back = spectral.istft(spectrum, 1024, 256, 20000)
        assert back.dtype == np.float32 and back.shape == (2, 20000)
        assert np.abs(back - waveform.numpy()).max() < 1e-6


@pytest.mark.parametrize("hop", [16, 32])  # windows that overlap much, and as little as is allowed
@pytest.mark.parametrize("missing", [-40, 0, 1, 50])
def test_numpy_turns_spectra_back_into_any_length(hop: int, missing: int):
    samples = 20 * hop
    waveform = noise(2, samples).numpy()
    given = spectral.istft(spectral.stft(waveform, 64, hop), 64, hop, samples + missing)
    expected = np.pad(waveform, [(0, 0), (0, max(missing, 0))])[:, : samples + missing]
    assert given.shape == expected.shape
    # Beyond the sound there is only the window's edge, by which rounding errors are divided.
    assert np.abs(given - expected).max() < 1e-5


@pytest.mark.parametrize("level", ["absolute", "relative"])
@pytest.mark.parametrize("warp", ["exact", "float32"])
def test_numpy_gives_the_same_network_input(level: str, warp: str):
    settings = SpectralSettings(level=level, log_floor=1e-4, warp=warp)
    spectrum = spectrum_of(noise(2, 30000))
    expected = log_magnitude(spectrum, settings).numpy()
    given = spectral.log_magnitude(spectrum.numpy(), settings)
    assert given.dtype == np.float32
    assert np.abs(given - expected).max() < 1e-4
    steep = np.random.default_rng(0).random((1, 513, 4)).astype(np.float32) ** 30
    bands = to_bands(torch.from_numpy(steep), settings).numpy()
    assert (
        np.abs(np.log(spectral.to_bands(steep, settings) + 1e-10) - np.log(bands + 1e-10)).max()
        < 1e-4
    )


@pytest.mark.parametrize(("sample_rate", "n_fft"), [(16000, 1024), (44100, 2880), (8000, 512)])
def test_numpy_brings_masks_to_the_same_bins(sample_rate: int, n_fft: int):
    mask = torch.rand(2, 256, 5, generator=torch.Generator().manual_seed(0))
    expected = from_bands(mask, SETTINGS, n_fft, sample_rate).numpy()
    given = spectral.from_bands(mask.numpy(), SETTINGS, n_fft, sample_rate)
    assert given.dtype == np.float32 and np.abs(given - expected).max() < 1e-6


def test_numpy_masks_a_mixture_alike():
    waveform = noise(2, 20000)
    spectrum = spectrum_of(waveform)
    mask = torch.rand(256, spectrum.shape[-1], generator=torch.Generator().manual_seed(0))
    expected = apply_mask(spectrum, mask, SETTINGS, 20000).numpy()
    given = spectral.apply_mask(spectrum.numpy(), mask.numpy(), SETTINGS, 20000)
    assert np.abs(given - expected).max() < 1e-6


def test_the_published_warp_is_torch_s_grid_sample():
    """On a steep spectrum that does not change in time, which `grid_sample` would interpolate too."""
    spectrum = torch.rand(513, 1, generator=torch.Generator().manual_seed(0)) ** 30
    magnitude = spectrum.expand(-1, 8).contiguous()
    rows = (21 ** ((np.linspace(-1, 1, 256) + 1) / 2) - 11) / 10
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 8), rows), axis=-1).astype(np.float32)
    expected = torch.nn.functional.grid_sample(
        magnitude[None, None], torch.from_numpy(grid)[None], align_corners=True
    )[0, 0, :, 1:-1]

    def error(warp: str) -> float:
        warped = (warp_matrix(513, 256, warp=warp) @ magnitude)[:, 1:-1]
        return ((warped + 1e-10).log() - (expected + 1e-10).log()).abs().max().item()

    assert error("float32") < 2e-6 < 1e-4 < error("exact")


def test_what_inference_needed_first_serves_in_training_afterwards():
    """Windows and matrices are kept; those made by inference mode would have no gradients."""
    settings = SpectralSettings(n_fft=96, hop_length=24, n_bands=40)  # of no other test

    def masked(waveform: torch.Tensor) -> torch.Tensor:
        spectrum = stft(waveform, 96, 24)
        mask = torch.sigmoid(log_magnitude(spectrum, settings))
        return apply_mask(spectrum, mask, settings, waveform.shape[-1])

    with torch.inference_mode():
        masked(noise(1, 2000))
    waveform = noise(1, 2000).requires_grad_()
    masked(waveform).square().sum().backward()
    assert waveform.grad.isfinite().all() and waveform.grad.any()
