"""How near our log-frequency bands are to the published warp: `python -m benchmarks.warp CORPUS`.

The published code warps a spectrogram by `grid_sample` over bands and time; ours is a matrix product
over the bins. Prints, for one test recording of each of four kinds, the largest difference over the
loudest band, that of the logarithms, the share of bands whose logarithm differs by more than 0.001, and
the loudest of these over the loudest band.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from clipsep.media import read_audio
from clipsep.models.transforms import magnitude, stft, to_bands
from clipsep.spectral import SpectralSettings

KINDS = ("dog_barking", "rain", "door_knocking", "violin")
SETTINGS = SpectralSettings(n_fft=1022, warp="float32")  # as published
SAMPLES = 65_535


def published_bands(spectrogram: torch.Tensor) -> torch.Tensor:
    """Warp [F, T] as the published code does, which counts the bands from -1 to 1."""
    band = np.linspace(-1, 1, SETTINGS.n_bands)
    time = np.linspace(-1, 1, spectrogram.shape[1])
    grid = np.stack(np.meshgrid(time, (21 ** ((band + 1) / 2) - 11) / 10), axis=-1)
    return torch.nn.functional.grid_sample(
        spectrogram[None, None], torch.from_numpy(grid.astype(np.float32))[None], align_corners=True
    )[0, 0]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    corpus = parser.parse_args().corpus
    print("| recording | of the loudest band | logarithm | share above 0.001 | loudest of these |")
    print("|---|--:|--:|--:|--:|")
    for kind in KINDS:
        path = min((corpus / "audio/test" / kind).iterdir())
        sound, _ = read_audio(path, SETTINGS.sample_rate, mono=True)
        waveform = torch.from_numpy(np.resize(sound, SAMPLES))[None]
        spectrogram = magnitude(stft(waveform, SETTINGS.n_fft, SETTINGS.hop_length))[0] + 1e-10
        ours, theirs = to_bands(spectrogram, SETTINGS), published_bands(spectrogram)
        difference = (ours - theirs).abs().max() / theirs.max()
        logarithm = (ours.log() - theirs.log()).abs()
        apart = logarithm > 1e-3
        level = (theirs * apart).max() / theirs.max()
        cells = (difference, logarithm.max(), apart.float().mean(), level)
        print(f"| {path.stem} | {' | '.join(f'{cell:.1e}' for cell in cells)} |")


if __name__ == "__main__":
    main()
