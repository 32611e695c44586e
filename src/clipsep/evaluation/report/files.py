"""The files of a report: report.json, mixtures.csv, report.md and .tex, two figures and examples.html."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from clipsep.errors import ClipsepError
from clipsep.evaluation.report.figure import draw_classes, draw_histogram
from clipsep.evaluation.report.listening import listening_page
from clipsep.evaluation.report.statistics import METRICS, Report
from clipsep.evaluation.report.text import latex, markdown
from clipsep.files import atomic_write
from clipsep.messages import spreadsheet_text

_EXAMPLES = "examples.html"


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write all files of a report into a folder and return their paths; each is complete or not there.

    The listening page is written if the report has examples; one of an earlier report is removed else,
    so that all files are of one evaluation.

    Raises:
        ClipsepError: if they cannot be written.
    """
    folder = Path(folder)
    contents = {
        "mixtures.csv": _mixtures_csv(report).encode(),
        "report.md": markdown(report).encode(),
        "report.tex": latex(report).encode(),
        "classes.png": draw_classes(report),
        "histogram.png": draw_histogram(report),
        "report.json": (json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n").encode(),
    }
    if any(mixture.sounds for mixture in report.mixtures):
        contents[_EXAMPLES] = listening_page(report).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(content)
        if _EXAMPLES not in contents:
            (folder / _EXAMPLES).unlink(missing_ok=True)
    except OSError as error:
        raise ClipsepError(
            f"The report cannot be written to '{folder}': {error.strerror or error}."
        ) from error
    return [folder / name for name in contents]


def _mixtures_csv(report: Report) -> str:
    """One row per mixture, one column per estimate and metric."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    columns = [
        f"{name} {metric}".replace(" ", "_") for name in report.estimates for metric in METRICS
    ]
    absent = [f"{name} leakage".replace(" ", "_") for name in report.model_estimates]
    writer.writerow(
        ["id", "query", "label", "interferer_label", *columns, "absent", *absent, "silent"]
    )
    for scored in report.mixtures:
        mixture = scored.mixture
        writer.writerow(
            [
                *map(spreadsheet_text, (mixture.id, mixture.query, mixture.label)),
                spreadsheet_text(";".join(other.label or "" for other in mixture.interferers)),
                *(value for name in report.estimates for value in scored.scores[name]),
                spreadsheet_text(scored.absent),
                *(scored.leakage.get(name) for name in report.model_estimates),
                ";".join(["source"] * scored.silent_reference + list(scored.silent_estimates)),
            ]
        )
    return buffer.getvalue()
