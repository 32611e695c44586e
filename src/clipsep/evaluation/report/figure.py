"""The figure of a report: how the model's SDR spreads in every class, as box plots."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.scoring.ideal_masks import BINARY
from clipsep.evaluation.scoring.score import MIXTURE
from clipsep.messages import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (
    "#4477aa",
    "#ee7733",
    "#228833",
    "#aa3377",
)  # told apart by everyone (Paul Tol's schemes)
_MARKERS = {MIXTURE: ("o", "#999999"), BINARY: ("|", "#222222")}


def draw_classes(report: Report) -> bytes:
    """Draw a PNG with one row per class, the best median of the first kind of estimate on top."""
    # Figure itself, not pyplot: no global state, no window system.
    from matplotlib.figure import Figure

    labels = sorted(report.by_class, key=lambda label: _order(report, label))
    height = 0.12 + 0.1 * len(report.model_estimates)  # inches
    # An image has a largest size: very many rows get flatter.
    figure = Figure(
        figsize=(9, min(1.2 + height * len(labels), 300)), dpi=110, layout="constrained"
    )
    axis = figure.subplots()
    handles = [
        _draw_boxes(axis, report, labels, number) for number in range(len(report.model_estimates))
    ]
    handles += [_draw_medians(axis, report, labels, name) for name in _MARKERS]
    axis.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axis.set_ylim(-0.7, len(labels) - 0.3)
    axis.set_xlabel("SDR in dB (boxes: quartiles and median)")
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    mixtures = counted(len(report.mixtures), "mixture")
    title = f"{report.model['name']}: {mixtures} of {counted(len(labels), 'class', 'classes')}"
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_histogram(report: Report) -> bytes:
    """Draw a PNG: how many mixtures gain how much SDR, by the model's estimates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), dpi=110, layout="constrained")
    axis = figure.subplots()
    gains = {
        name: [s.scores[name].sdr_improvement for s in report.mixtures]
        for name in report.model_estimates
    }
    finite = {
        name: [gain for gain in values if np.isfinite(gain)] for name, values in gains.items()
    }
    everything = [gain for values in finite.values() for gain in values] or [0.0]
    bins = np.arange(np.floor(min(everything)), np.ceil(max(everything)) + 2)  # of 1 dB
    for number, (name, values) in enumerate(finite.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axis.hist(values, list(bins), histtype="step", linewidth=1.5, color=colour, label=name)
    axis.axvline(0, color="#999999", linewidth=0.8)
    axis.set(xlabel="SDR improvement in dB", ylabel="mixtures")
    axis.legend(fontsize=8, frameon=False)
    figure.suptitle(report.model["name"], fontsize=10, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _order(report: Report, label: str) -> float:
    median = report.statistic(report.model_estimates[0], "sdr", label).median
    return -np.inf if median is None else median


def _draw_boxes(axis: Axes, report: Report, labels: list[str], number: int):
    """One box per class for one kind of estimate; returns what stands for it in the legend."""
    name, colour = report.model_estimates[number], _COLOURS[number % len(_COLOURS)]
    width = 0.7 / len(report.model_estimates)
    shift = width * ((len(report.model_estimates) - 1) / 2 - number)
    values = [
        [sdr for mixture in report.by_class[label] if np.isfinite(sdr := mixture.scores[name].sdr)]
        for label in labels
    ]
    boxes = axis.boxplot(
        values,
        orientation="horizontal",
        positions=np.arange(len(labels)) + shift,
        widths=0.8 * width,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": colour},
        medianprops={"color": "black", "linewidth": 1.2},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
    )
    boxes["boxes"][0].set_label(name)
    return boxes["boxes"][0]


def _draw_medians(axis: Axes, report: Report, labels: list[str], name: str):
    marker, colour = _MARKERS[name]
    medians = [report.statistic(name, "sdr", label).median for label in labels]
    drawn = [np.nan if median is None else median for median in medians]
    (line,) = axis.plot(
        drawn,
        range(len(labels)),
        marker,
        color=colour,
        markersize=9 if marker == "|" else 3,
        label=f"{name}, median",
    )
    return line
