"""The figure of a separation: the spectrogram of every part above one another, drawn in constant memory.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import io
import math
import warnings
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipsep.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLUMNS = 1200  # up to twice as many
ROWS = 256
LOWEST_FREQUENCY = 50.0  # Hz
WINDOW_SECONDS = 0.046
RANGE_DB = 70.0
_SILENCE = 1e-12  # power that stands for digital silence: -120 dB
_FRAMES_AT_A_TIME = 64
_CLOCK_STEPS = (20, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds between labels


class SpectrogramFigure:
    """Collects the parts of a recording block by block and draws one row for each.

    Args:
        sample_rate: rate in Hz.
        seconds: the expected length, if known; the figure adapts if it is wrong.

    Raises:
        ClipsepError: if matplotlib is missing, which is only needed at the end.
    """

    def __init__(self, sample_rate: int, seconds: float | None = None):
        require_matplotlib()
        self._sample_rate = sample_rate
        self._expected_samples = (seconds or 0.0) * sample_rate
        self._spectrograms: dict[str, PooledSpectrogram] = {}
        self._samples = 0

    def add(self, parts: dict[str, np.ndarray]) -> None:
        """Append one block [C, n] of every part, all of the same length."""
        for name, block in parts.items():
            if name not in self._spectrograms:
                self._spectrograms[name] = PooledSpectrogram(
                    self._sample_rate, self._expected_samples
                )
            self._spectrograms[name].push(block.mean(axis=0))
        self._samples += next(iter(parts.values())).shape[-1]

    def png(self) -> bytes:
        """Draw the figure; call once, at the end."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # A query in a script that the font lacks is drawn as boxes; that is not an error.
            warnings.simplefilter("ignore")
            self._draw().savefig(buffer, format="png")
        return buffer.getvalue()

    def _draw(self) -> Figure:
        # Figure itself, not pyplot: no global state, no window system, safe in any thread.
        from matplotlib.figure import Figure

        rows = len(self._spectrograms)
        # An image has a largest size: very many rows get flatter.
        height = min(1.6 * rows, 200.0) + 0.6
        figure = Figure(figsize=(10, height), dpi=110, layout="constrained")
        axes = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
        levels = {
            name: 10 * np.log10(part.finish() + _SILENCE)
            for name, part in self._spectrograms.items()
        }
        top = max(float(level.max()) for level in levels.values())
        for axis, (name, level) in zip(axes, levels.items(), strict=True):
            seconds = self._spectrograms[name].seconds
            image = _show(axis, level, seconds, top, self._sample_rate)
            # parse_math: a dollar sign in a query does not begin a formula.
            title = shorten(name, 110, placeholder=" ...")
            axis.set_title(title, loc="left", fontsize=10, parse_math=False)
        _label_time(axes[-1], self._samples / self._sample_rate)
        figure.colorbar(
            image, ax=list(axes), label="dB below full scale", pad=0.01, aspect=14 * rows
        )
        return figure


def require_matplotlib() -> None:
    """Raise ClipsepError if it is missing; it is not imported."""
    require("matplotlib", extra="plot", purpose="drawing spectrograms")


# From silence to the loudest: black, violet, red, orange, pale yellow; lightness rises evenly.
_COLOURS = np.array(
    [[8, 8, 20], [60, 20, 110], [150, 45, 125], [235, 90, 95], [254, 170, 115], [252, 250, 200]]
)


def paint(levels: np.ndarray, top: float, range_db: float = RANGE_DB) -> Image.Image:
    """Paint a spectrogram [rows, columns] in dB, low frequencies first, as an image without axes.

    Args:
        top: level of the brightest colour; what is ``range_db`` below it, or more, is darkest.
    """
    position = np.clip((levels[::-1] - top) / range_db + 1, 0, 1) * (len(_COLOURS) - 1)
    lower = np.minimum(position.astype(int), len(_COLOURS) - 2)
    share = (position - lower)[..., None]
    pixels = _COLOURS[lower] * (1 - share) + _COLOURS[lower + 1] * share
    return Image.fromarray(pixels.round().astype(np.uint8))


class PooledSpectrogram:
    """Power of one part on a grid of log-frequency rows and about `COLUMNS` columns.

    Every column is the mean of the same number of STFT frames. When there are twice too many columns,
    neighbours are averaged and from then on a column takes twice as many frames.
    """

    def __init__(self, sample_rate: int, expected_samples: float):
        self._sample_rate = sample_rate
        self._n_fft = 2 ** max(4, round(math.log2(WINDOW_SECONDS * sample_rate)))
        self._hop = self._n_fft // 4
        window = np.hanning(self._n_fft + 1)[:-1]
        # A sine of full scale has the power 1, 0 dB.
        self._window = (window * 2 / window.sum()).astype(np.float32)
        self._rows = _row_matrix(sample_rate, self._n_fft)
        self._frames_per_column = max(1, round(expected_samples / self._hop / COLUMNS))
        self._columns = np.zeros((2 * COLUMNS, ROWS), np.float32)
        self._n_columns = 0
        self._sum = np.zeros(self._n_fft // 2 + 1)  # of the frames of the column to come
        self._n_frames = 0
        # Zeros before the sound put the first frame's centre on its first sample.
        self._samples = np.zeros(self._n_fft // 2, np.float32)

    @property
    def seconds(self) -> float:
        """Time that the columns cover; the last one may reach beyond the end of the sound."""
        return self._n_columns * self._frames_per_column * self._hop / self._sample_rate

    def push(self, samples: np.ndarray) -> None:
        """Take samples [n]."""
        self._samples = np.concatenate([self._samples, samples])
        count = (len(self._samples) - self._n_fft) // self._hop + 1
        for start in range(0, count, _FRAMES_AT_A_TIME):
            self._pool(self._power(start, min(_FRAMES_AT_A_TIME, count - start)))
        self._samples = self._samples[max(0, count) * self._hop :]

    def finish(self) -> np.ndarray:
        """Call once, at the end: power [ROWS, columns], 1 for a sine of full scale."""
        self.push(np.zeros(self._n_fft, np.float32))
        if self._n_frames:
            self._close_column()
        return self._columns[: self._n_columns].T

    def _power(self, start: int, n: int) -> np.ndarray:
        """Power of the next frames from number ``start`` on: [n, n_fft // 2 + 1]."""
        samples = self._samples[start * self._hop :]
        frames = np.lib.stride_tricks.sliding_window_view(samples, self._n_fft)
        spectrum = np.fft.rfft(frames[: n * self._hop : self._hop] * self._window)
        return spectrum.real**2 + spectrum.imag**2

    def _pool(self, power: np.ndarray) -> None:
        """Take frames [n, n_fft // 2 + 1] into columns."""
        while len(power):
            taken = power[: self._frames_per_column - self._n_frames]
            power = power[len(taken) :]
            self._sum += taken.sum(axis=0)
            self._n_frames += len(taken)
            if self._n_frames == self._frames_per_column:
                self._close_column()

    def _close_column(self) -> None:
        self._columns[self._n_columns] = self._rows @ (self._sum / self._n_frames)
        self._n_columns += 1
        self._sum[:] = 0
        self._n_frames = 0
        if self._n_columns == len(self._columns):
            self._columns[:COLUMNS] = self._columns.reshape(COLUMNS, 2, ROWS).mean(axis=1)
            self._n_columns = COLUMNS
            self._frames_per_column *= 2


def _frequency_limits(sample_rate: int) -> tuple[float, float]:
    """Lowest and highest frequency of the figure in Hz."""
    return min(LOWEST_FREQUENCY, sample_rate / 40), sample_rate / 2


def _row_matrix(sample_rate: int, n_fft: int) -> np.ndarray:
    """[ROWS, n_fft // 2 + 1]: mean power over each of the rows, equally wide in log-frequency.

    Between bins the power is interpolated, so that rows narrower than a bin are not empty.
    """
    points_per_row = 32
    low, high = np.log(_frequency_limits(sample_rate))
    frequency = np.exp(
        low + (high - low) * (np.arange(ROWS * points_per_row) + 0.5) / ROWS / points_per_row
    )
    position = frequency / sample_rate * n_fft
    lower = np.minimum(position.astype(int), n_fft // 2 - 1)
    row = np.arange(ROWS * points_per_row) // points_per_row
    matrix = np.zeros((ROWS, n_fft // 2 + 1))
    np.add.at(matrix, (row, lower), (1 - (position - lower)) / points_per_row)
    np.add.at(matrix, (row, lower + 1), (position - lower) / points_per_row)
    return matrix


def _show(
    axis: Axes, levels: np.ndarray, seconds: float, top: float, sample_rate: int
) -> AxesImage:
    """Draw one spectrogram [ROWS, columns] in dB on an axis of log10 of the frequency."""
    low, high = np.log10(_frequency_limits(sample_rate))
    image = axis.imshow(
        levels,
        extent=(0, seconds, low, high),
        vmin=top - RANGE_DB,
        vmax=top,
        cmap="magma",
        origin="lower",
        aspect="auto",
    )
    ticks = [hertz for hertz in (100, 300, 1000, 3000, 10_000, 30_000) if hertz < sample_rate / 2]
    labels = [f"{hertz} Hz" if hertz < 1000 else f"{hertz // 1000} kHz" for hertz in ticks]
    axis.set_yticks(np.log10(ticks), labels, fontsize=8)
    return image


def _label_time(axis: Axes, seconds: float) -> None:
    axis.set_xlim(0, seconds)
    if seconds < 180:
        axis.set_xlabel("time in seconds")
        return
    step = next((step for step in _CLOCK_STEPS if seconds <= 12 * step), 3600 * (seconds // 36_000))
    axis.set_xlabel("time in min:s")
    axis.set_xticks(np.arange(0, seconds, step))
    axis.xaxis.set_major_formatter(lambda x, _: f"{int(x) // 60}:{int(x) % 60:02d}")
