"""What recordings go through before anyone records them: rooms, equalisers, noise, overload, codecs.

Everything works on batches of waveforms or spectra on any device. Linear effects change each source, which
stays the target; effects of the recorder change the mixture alone, and the targets stay clean.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from clipsep.models.transforms import istft, magnitude, stft
from clipsep.training.data.settings import AugmentSettings

_LOWEST = 50.0  # Hz, the lowest point of an equaliser
_POINTS = 7  # of an equaliser's curve, evenly spaced in log frequency
_DRY = 1e-8
_CODER = 1024, 256  # samples of the windows in which a coder leaves things out, and their hop


def as_recorded(
    sources: np.ndarray, settings: AugmentSettings, sample_rate: int, seed: int
) -> np.ndarray:
    """Change sources [N, T] of a mixture, and add a row for what the recorder adds: float32 [N + 1, T].

    The mixture, their sum, then is what was recorded; the sources stay what a model is to give back.

    Args:
        seed: all that the draws depend on.
    """
    generator = torch.Generator().manual_seed(seed)
    changed = change_sources(torch.from_numpy(sources), settings, sample_rate, generator)
    mixture = changed.sum(dim=0, keepdim=True)
    recorded = change_mixture(mixture, settings, generator)
    spectrum = stft(recorded, *_CODER)
    coded = drop_inaudible(spectrum, settings, generator)
    if coded is not spectrum:
        recorded = istft(coded, *_CODER, recorded.shape[-1])
    return torch.cat([changed, recorded - mixture]).numpy()


def change_sources(
    waveform: torch.Tensor, settings: AugmentSettings, sample_rate: int, generator: torch.Generator
) -> torch.Tensor:
    """Put some of the waveforms [B, T] into a room and through an equaliser of their own: [B, T]."""
    rows = _chosen(len(waveform), settings.changed_prob, generator)
    if not rows.any():
        return waveform
    changed = waveform.clone()
    changed[rows] = _changed(waveform[rows], settings, sample_rate, generator)
    return changed


def _changed(
    waveform: torch.Tensor, settings: AugmentSettings, sample_rate: int, generator: torch.Generator
) -> torch.Tensor:
    n_samples = waveform.shape[-1]
    n_reverb = sample_rate // 2
    n_fft = _fft_size(n_samples + n_reverb)
    spectrum = torch.fft.rfft(waveform, n_fft)
    if settings.reverb_prob:
        response = impulse_responses(len(waveform), n_reverb, sample_rate, generator)
        wet = _chosen(len(waveform), settings.reverb_prob, generator)
        response[..., 1:] *= wet[:, None]
        spectrum = spectrum * torch.fft.rfft(response, n_fft)
    spectrum = spectrum * gain_curves(
        len(waveform), spectrum.shape[-1], settings, sample_rate, generator
    )
    return torch.fft.irfft(spectrum, n_fft)[..., :n_samples]


def impulse_responses(
    count: int, n_samples: int, sample_rate: int, generator: torch.Generator
) -> torch.Tensor:
    """Random impulse responses of rooms, [count, n_samples]; the direct sound is a 1 at the start."""
    device = generator.device
    uniform = torch.rand(3, count, 1, device=device, generator=generator)
    reverberation_time = 0.1 * 8 ** uniform[0]  # seconds, for 60 dB
    delay = 0.001 + 0.02 * uniform[1]  # seconds
    time = torch.arange(n_samples, device=device) / sample_rate
    noise = torch.randn(count, n_samples, device=device, generator=generator)
    tail = noise * torch.exp(-6.91 * time / reverberation_time) * (time > delay)
    tail /= tail.norm(dim=-1, keepdim=True) + _DRY
    response = tail * 10 ** (-15 * uniform[2] / 20)
    response[..., 0] = 1
    return response


def gain_curves(
    count: int,
    n_bins: int,
    settings: AugmentSettings,
    sample_rate: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Random smooth gains over frequency with random band limits, [count, n_bins]."""
    device = generator.device
    frequency = torch.linspace(0, sample_rate / 2, n_bins, device=device).clamp(min=_LOWEST)
    octave = torch.log2(frequency / _LOWEST)
    points = torch.randn(count, 1, _POINTS, device=device, generator=generator)
    position = octave / octave[-1] * (_POINTS - 1)
    lower = position.long().clamp(max=_POINTS - 2)
    share = position - lower
    curve = points[:, 0, lower] * (1 - share) + points[:, 0, lower + 1] * share  # [count, n_bins]
    gain = 10 ** (settings.equalizer_db * curve / 20)
    if settings.band_limit_prob:
        limited = _chosen(count, settings.band_limit_prob, generator)[:, None]
        which, low, high = torch.rand(3, count, 1, device=device, generator=generator)
        low_octave = torch.log2(80 * 5**low / _LOWEST)  # 80 to 400 Hz
        high_octave = torch.log2(2500 * 3**high / _LOWEST)  # 2.5 to 7.5 kHz
        # Slopes of 24 dB per octave; a telephone has both.
        below = (low_octave - octave).clamp(min=0) * (which < 0.6)
        above = (octave - high_octave).clamp(min=0) * (which > 0.4)
        gain = gain * torch.where(limited, 10 ** (-24 * (below + above) / 20), 1.0)
    return gain


def change_mixture(
    mixture: torch.Tensor, settings: AugmentSettings, generator: torch.Generator
) -> torch.Tensor:
    """Noise and overload of the recorder: mixtures [B, T] to [B, T]."""
    count, n_samples = mixture.shape
    level = mixture.square().mean(dim=-1, keepdim=True).sqrt()
    noisy = _chosen(count, settings.noise_prob, generator)
    if noisy.any():
        noise = coloured_noise(int(noisy.sum()), n_samples, generator)
        uniform = torch.rand(len(noise), 1, device=mixture.device, generator=generator)
        loudness = (level[noisy] + 1e-4) * 10 ** (-(10 + 30 * uniform) / 20)
        mixture = mixture.clone()
        mixture[noisy] += noise * loudness
    if settings.clipping_prob:
        uniform = torch.rand(count, 1, device=mixture.device, generator=generator)
        limit = mixture.abs().amax(dim=-1, keepdim=True) * (0.15 + 0.6 * uniform)
        clipped = _chosen(count, settings.clipping_prob, generator)[:, None]
        mixture = torch.where(clipped, mixture.clamp(-limit, limit), mixture)
    return mixture


def coloured_noise(count: int, n_samples: int, generator: torch.Generator) -> torch.Tensor:
    """Noise of mean square 1 whose power falls with a random power of frequency, from 0 to 2."""
    device = generator.device
    n_fft = _fft_size(n_samples)
    spectrum = torch.randn(count, n_fft // 2 + 1, 2, device=device, generator=generator)
    slope = torch.rand(count, 1, device=device, generator=generator)
    frequency = torch.arange(n_fft // 2 + 1, device=device).clamp(min=n_fft // 400)
    noise = torch.fft.irfft(torch.view_as_complex(spectrum) * frequency**-slope, n_fft)
    noise = noise[:, :n_samples]
    return noise / noise.square().mean(dim=-1, keepdim=True).sqrt()


def drop_inaudible(
    spectrum: torch.Tensor, settings: AugmentSettings, generator: torch.Generator
) -> torch.Tensor:
    """Drop what coders leave out of mixtures: complex [B, F, T] to the same, with holes."""
    coded = _chosen(len(spectrum), settings.codec_prob, generator)
    if not coded.any():
        return spectrum
    changed = spectrum.clone()
    changed[coded] = _coded(spectrum[coded], generator)
    return changed


def _coded(spectrum: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = len(spectrum)
    level = magnitude(spectrum)
    around = F.max_pool2d(level[:, None], (17, 1), stride=1, padding=(8, 0))
    around = F.max_pool2d(around, (1, 5), stride=1, padding=(0, 2))[:, 0]
    uniform = torch.rand(count, 1, 1, device=spectrum.device, generator=generator)
    threshold = 10 ** (-(12 + 18 * uniform) / 20)
    return spectrum * (level >= threshold * around)


def _chosen(count: int, share: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, device=generator.device, generator=generator) < share


def _fft_size(n_samples: int) -> int:
    """Return the next size of the form 2**a * 9 or 2**a: fast for FFTs and near to what is needed."""
    power = 1 << (n_samples - 1).bit_length()
    nine = 9 * (1 << max(0, ((n_samples + 8) // 9 - 1).bit_length()))
    return min(power, nine)
