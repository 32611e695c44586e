"""The overall scores of a report as a LaTeX table, for papers (booktabs)."""

from __future__ import annotations

from clipsep.evaluation.report.statistics import METRICS, Report
from clipsep.evaluation.report.text import TITLES
from clipsep.evaluation.report.values import Statistic

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def latex(report: Report) -> str:
    """Mean and standard error in dB of every estimate; needs the package booktabs."""
    title = escaped(f"{report.model['name']}, {len(report.mixtures)} mixtures")
    lines = [
        f"% {title}: mean and standard error in dB",
        rf"\begin{{tabular}}{{l{'r' * len(METRICS)}}}",
        r"\toprule",
        rf" & {' & '.join(TITLES[metric] for metric in METRICS)} \\",
        r"\midrule",
    ]
    for name in report.estimates:
        cells = [_cell(report.statistic(name, metric)) for metric in METRICS]
        lines.append(rf"{escaped(name)} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    """Text with the characters that mean something to LaTeX escaped."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _cell(statistic: Statistic) -> str:
    if statistic.mean is None:
        return "--"
    mean = f"{round(statistic.mean, 2) + 0.0:.2f}"
    error = statistic.standard_error
    return f"${mean}$" if error is None else rf"${mean} \pm {error:.2f}$"
