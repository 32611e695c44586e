"""Images of parts for the page: only the image, no axes, for a strip above a player."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.media import AudioReader
from clipsep.separation.files.figure import RANGE_DB, PooledSpectrogram

_SILENCE = 1e-12  # -120 dB
# From silence to the loudest: black, violet, red, orange, pale yellow; lightness rises evenly.
_COLOURS = np.array(
    [[8, 8, 20], [60, 20, 110], [150, 45, 125], [235, 90, 95], [254, 170, 115], [252, 250, 200]]
)


def draw_spectrogram(path: Path, top_db: float | None, target: Path) -> None:
    """Draw the spectrogram of a WAV file as PNG.

    Args:
        top_db: level of the brightest colour; by default the loudest point of this file.
    """
    with AudioReader(path) as reader:
        rate = reader.info.sample_rate
        pooled = PooledSpectrogram(rate, rate * (reader.info.seconds or 0.0))
        for block in reader:
            pooled.push(block.mean(axis=0))
    levels = 10 * np.log10(pooled.finish() + _SILENCE)  # [rows, columns], low frequencies first
    top = levels.max() if top_db is None else top_db
    position = np.clip((levels[::-1] - top) / RANGE_DB + 1, 0, 1) * (len(_COLOURS) - 1)
    lower = np.minimum(position.astype(int), len(_COLOURS) - 2)
    share = (position - lower)[..., None]
    pixels = _COLOURS[lower] * (1 - share) + _COLOURS[lower + 1] * share
    Image.fromarray(pixels.round().astype(np.uint8)).save(target, format="PNG")
