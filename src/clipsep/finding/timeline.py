"""A figure of what was found: a row per sound, its presence over time and its spans."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsep.errors import ClipsepError, UsageError, require
from clipsep.files import atomic_write
from clipsep.finding.find import FindResult

_MOST_ROWS = 40
_COLUMNS = 1500  # points of a curve: more than a page shows


def draw_timeline(result: FindResult, path: str | Path) -> None:
    """Draw the sounds of a result as PNG; those beyond the first 40 are left out.

    Raises:
        UsageError: if nothing was found that could be drawn.
        ClipsepError: if matplotlib is missing, or the file cannot be written.
    """
    require("matplotlib", extra="plot", purpose="drawing a timeline")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sounds = result.sounds[:_MOST_ROWS]
    if not sounds:
        raise UsageError(f"Nothing was found in {result.source}: there is no timeline to draw.")
    figure = Figure(figsize=(10, 0.9 + 0.5 * len(sounds)), layout="constrained")
    axes = figure.subplots()
    for row, sound in enumerate(sounds):
        curve = _pooled(sound.curve)
        times = result.start + np.linspace(0, result.seconds, len(curve))
        axes.fill_between(
            times, row + 0.4, row + 0.4 - 0.8 * curve, color="#5a32a3", alpha=0.35, lw=0
        )
        for span in sound.spans:
            axes.plot(
                [span.start, span.end],
                [row + 0.4] * 2,
                color="#5a32a3",
                lw=4,
                solid_capstyle="butt",
            )
    names = [f"{sound.query}  {100 * sound.confidence:.0f} %" for sound in sounds]
    axes.set_yticks(range(len(sounds)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(len(sounds) - 0.4, -0.6)
    axes.set_xlim(result.start, result.start + result.seconds)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    FigureCanvasAgg(figure)
    try:
        with atomic_write(Path(path)) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
    except OSError as error:
        raise ClipsepError(f"Cannot write '{path}': {error.strerror or error}.") from error


def _pooled(curve: np.ndarray) -> np.ndarray:
    """At most `_COLUMNS` values, each the highest of its stretch."""
    width = -(-len(curve) // _COLUMNS)
    padded = np.pad(curve, (0, -len(curve) % width))
    return padded.reshape(-1, width).max(axis=1)
