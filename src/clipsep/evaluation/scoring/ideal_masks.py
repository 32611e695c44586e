"""What masks that know the sources give: bounds for every model that masks the mixture's spectrum."""

from __future__ import annotations

import numpy as np

from clipsep.spectral import istft, stft

BINARY, RATIO = "ideal binary mask", "ideal ratio mask"
_N_FFT, _HOP = 1024, 256  # the published STFT, at 16 kHz; the same for all models


def ideal_estimates(sources: np.ndarray) -> dict[str, np.ndarray]:
    """Estimates [T] of the first source by ideal masks of every STFT bin, by the mask's name.

    With the spectra S of the target and I of all other sources together: binary |S| > |I|, ratio
    |S| / (|S| + |I|), both on the spectrum S + I of the mixture.

    Args:
        sources: the target, then all others, which add up to the mixture, [N, T].
    """
    parts = np.stack([sources[0], sources[1:].sum(axis=0)])
    spectra = stft(parts, _N_FFT, _HOP)  # [2, F, frames]
    target, rest = np.abs(spectra)
    masks = {
        BINARY: target > rest,
        # Where both are zero the mask does not matter.
        RATIO: target / np.maximum(target + rest, np.finfo(target.dtype).tiny),
    }
    mixture = spectra.sum(axis=0)
    return {
        name: istft(mixture * mask, _N_FFT, _HOP, sources.shape[-1]) for name, mask in masks.items()
    }
