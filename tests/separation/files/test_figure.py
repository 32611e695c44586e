"""Laws of the figure: power where the sound is, a bounded number of columns."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from clipsep.separation.files.figure import (
    COLUMNS,
    PooledSpectrogram,
    SpectrogramFigure,
    _frequency_limits,
)

RATE = 16_000


def tone(frequency: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE).astype("f4")


def test_a_full_scale_sine_is_at_0_db_in_its_row():
    part = PooledSpectrogram(RATE, 0)
    part.push(tone(250, 1.0))  # exactly on a bin, where rows are narrower than bins
    power = part.finish()
    low, high = np.log(_frequency_limits(RATE))
    row = int((np.log(250) - low) / (high - low) * len(power))
    middle = power[:, power.shape[1] // 2]
    assert abs(int(middle.argmax()) - row) <= 1
    assert 10 * np.log10(middle.max()) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("expected_seconds", [0.0, 1.0, 200.0])
def test_columns_are_bounded_and_cover_the_sound(expected_seconds: float):
    part = PooledSpectrogram(RATE, expected_seconds * RATE)
    for second in range(200):
        part.push(tone(500, 1.0) * (second >= 100))
    power = part.finish().sum(axis=0)
    assert 200 <= part.seconds < 201
    assert COLUMNS // 2 < len(power) < 2 * COLUMNS or expected_seconds
    start = int(np.argmax(power > power.max() / 2)) / len(power) * part.seconds
    assert start == pytest.approx(100, abs=0.5)


def test_blocks_of_any_size_give_the_same_figure():
    signal = np.random.default_rng(0).standard_normal(3 * RATE).astype("f4")
    whole, blocks = PooledSpectrogram(RATE, 0), PooledSpectrogram(RATE, 0)
    whole.push(signal)
    for block in np.array_split(signal, 77):
        blocks.push(block)
    np.testing.assert_allclose(blocks.finish(), whole.finish(), rtol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_one_row_per_part_and_any_name(rate: int):
    figure = SpectrogramFigure(rate, None)
    block = np.zeros((2, rate // 50), "f4")
    figure.add({"mixture": block, "costs $5 or \\frac": block, "狗叫 " * 100: block})
    with Image.open(io.BytesIO(figure.png())) as image:
        assert image.format == "PNG" and image.width > image.height


def test_matplotlib_is_not_imported_before_a_figure_is_drawn():
    code = "import sys, clipsep.separation.files.outputs; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
