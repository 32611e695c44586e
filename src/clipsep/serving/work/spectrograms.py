"""Images of parts for the page: only the image, no axes, for a strip above a player."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsep.media import AudioReader
from clipsep.separation.files.figure import PooledSpectrogram, paint

_SILENCE = 1e-12  # -120 dB


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
    top = float(levels.max()) if top_db is None else top_db
    paint(levels, top).save(target, format="PNG")
