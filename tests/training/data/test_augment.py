"""Rooms, equalisers and recorders: what they change, and what they leave."""

from __future__ import annotations

import pytest
import torch

from clipsep.training.data.augment import (
    AugmentSettings,
    change_mixture,
    change_sources,
    coloured_noise,
    drop_inaudible,
    gain_curves,
    impulse_responses,
)

RATE = 16_000


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_without_settings_nothing_changes(generator: torch.Generator):
    waveform = torch.randn(3, RATE, generator=generator)
    nothing = AugmentSettings()
    assert torch.equal(change_sources(waveform, nothing, RATE, generator), waveform)
    assert torch.equal(change_mixture(waveform, nothing, generator), waveform)
    spectrum = torch.randn(2, 9, 5, generator=generator).to(torch.complex64)
    assert torch.equal(drop_inaudible(spectrum, nothing, generator), spectrum)


def test_effects_that_change_nothing_give_the_waveform_back(generator: torch.Generator):
    waveform = torch.randn(3, RATE, generator=generator)
    flat = AugmentSettings(changed_prob=1.0)
    changed = change_sources(waveform, flat, RATE, generator)
    torch.testing.assert_close(changed, waveform, atol=1e-5, rtol=0)


def test_a_room_answers_after_the_direct_sound_and_dies_away(generator: torch.Generator):
    response = impulse_responses(64, RATE // 2, RATE, generator)
    assert (response[:, 0] == 1).all() and (response[:, 1:16] == 0).all()
    energy = response[:, 16:].square().sum(dim=-1)
    assert ((energy > 0.02) & (energy < 1.1)).all()  # 0 to 15 dB below
    early, late = response[:, 400:2000].square().mean(), response[:, 6000:].square().mean()
    assert late < early / 10


def test_band_limits_cut_the_ends_and_spare_the_middle(generator: torch.Generator):
    limited = AugmentSettings(changed_prob=1.0, band_limit_prob=1.0)
    gain = gain_curves(200, 801, limited, RATE, generator)  # 10 Hz apart
    assert gain[:, 100].min() > 0.999  # 1 kHz
    assert (gain.amin(dim=-1) < 0.5).float().mean() > 0.9


def test_equalizers_are_as_strong_as_their_setting(generator: torch.Generator):
    gain = gain_curves(2000, 801, AugmentSettings(equalizer_db=3.0), RATE, generator)
    assert 20 * torch.log10(gain[:, 5]).std() == pytest.approx(3, rel=0.15)


def test_recorders_add_noise_within_its_range_and_clip(generator: torch.Generator):
    mixture = torch.randn(100, RATE, generator=generator)
    noisy = change_mixture(mixture, AugmentSettings(noise_prob=1.0), generator)
    level = 10 * torch.log10((noisy - mixture).square().mean(dim=-1))
    assert level.min() > -41 and level.max() < -9
    clipped = change_mixture(mixture, AugmentSettings(clipping_prob=1.0), generator)
    peaks = clipped.abs().amax(dim=-1) / mixture.abs().amax(dim=-1)
    assert ((peaks >= 0.149) & (peaks <= 0.751)).all()


def test_noise_has_mean_square_one_and_falls_with_frequency(generator: torch.Generator):
    noise = coloured_noise(50, RATE, generator)
    torch.testing.assert_close(noise.square().mean(dim=-1), torch.ones(50))
    power = torch.fft.rfft(noise).abs().square().mean(dim=0)
    assert power[100:200].mean() > power[4000:].mean()


def test_coders_drop_what_is_faint_beside_its_neighbours(generator: torch.Generator):
    spectrum = torch.ones(4, 40, 20, dtype=torch.complex64)
    spectrum[:, 10, 10] = 0.01  # 40 dB below all around
    coded = drop_inaudible(spectrum, AugmentSettings(codec_prob=1.0), generator)
    assert (coded[:, 10, 10] == 0).all() and (coded[:, 30] == 1).all()
