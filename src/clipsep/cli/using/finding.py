"""`clipsep find` and `clipsep scan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsep.cli.console import Device, Sensitivity, cells, progress_bar, stdout, table_of
from clipsep.cli.recordings import (
    STDIN_NAME,
    STDIO,
    EncoderName,
    End,
    Engine,
    Frames,
    Images,
    Like,
    Model,
    Query,
    Start,
    frames_of,
    recording_of,
    seconds_of,
)
from clipsep.errors import ClipsepError, UsageError, require
from clipsep.messages import printable

if TYPE_CHECKING:
    from clipsep.finding import FindResult
    from clipsep.separation.options import SeparationOptions
    from clipsep.separation.separator import Separator

Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUTS", help="Sound or video files; - for stdin.")
]
Threshold = Annotated[
    float,
    typer.Option(metavar="NUMBER", help="Presence, 0 to 1, from which a sound counts as there."),
]
Format = Annotated[str, typer.Option(metavar="NAME", help="table, json, csv or labels (Audacity).")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Draw a timeline of what was found.")
]
_FORMATS = ("table", "json", "csv", "labels")


def find(
    inputs: Inputs,
    query: Query = None,
    image: Images = None,
    like: Like = None,
    frame: Frames = None,
    threshold: Threshold = 0.5,
    sensitivity: Sensitivity = 0.5,
    start: Start = None,
    end: End = None,
    format: Format = "table",
    plot: Plot = None,
    model: Model = "mini",
    query_encoder: EncoderName = None,
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """Find when sounds are heard: spans of time with confidence."""
    from clipsep.finding import find

    queries: list[Any] = [*(query or []), *(image or []), *(like or []), *frames_of(frame)]
    if not queries:
        raise UsageError('Say what to find: -q "dog barking", or --image with an image.')
    _check_request(inputs, threshold, format, plot)
    options = _options(sensitivity, start, end)
    separator = _load(model, device, query_encoder, engine)
    wanted: Any = queries
    if (
        len(inputs) > 1 and not frame
    ):  # so that what is wrong with a query is not every input's fault
        wanted = separator.encode(queries, options)

    def work(path: Path) -> FindResult:
        with progress_bar(f"searching {path.name}") as progress:
            return find(path, wanted, None, separator, threshold, options, progress)

    _each(work, inputs, format, plot)


def scan(
    inputs: Inputs,
    threshold: Threshold = 0.5,
    sensitivity: Sensitivity = 0.5,
    start: Start = None,
    end: End = None,
    format: Format = "table",
    plot: Plot = None,
    model: Model = "mini",
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """Guess which of the known sounds are heard, the most heard first."""
    from clipsep.finding import scan
    from clipsep.finding.find import known_sounds

    _check_request(inputs, threshold, format, plot)
    options = _options(sensitivity, start, end)
    separator = _load(model, device, None, engine)
    known = known_sounds(separator)

    def work(path: Path) -> FindResult:
        with progress_bar(f"scanning {path.name}") as progress:
            return scan(path, None, separator, threshold, options, progress)

    _each(
        work,
        inputs,
        format,
        plot,
        f"Guesses among {len(known)} sounds: `clipsep find` is surer of a sound that you name.",
    )


def _check_request(inputs: list[Path], threshold: float, format: str, plot: Path | None) -> None:
    from clipsep.finding.find import check_threshold

    check_threshold(threshold)
    if format not in _FORMATS:
        raise UsageError(f"The format '{format}' does not exist: choose {', '.join(_FORMATS)}.")
    if plot and plot.suffix.lower() != ".png":
        raise UsageError(
            f"The timeline '{plot}' is written as PNG: give it a name that ends in .png."
        )
    if len(inputs) > 1 and (plot or format == "labels"):
        raise UsageError("A timeline and a label track are of one recording: name one input.")
    if plot:
        require("matplotlib", extra="plot", purpose="drawing a timeline")


def _options(sensitivity: float, start: str | None, end: str | None) -> SeparationOptions:
    from clipsep.separation.options import SeparationOptions

    return SeparationOptions(sensitivity=sensitivity, start=seconds_of(start), end=seconds_of(end))


def _load(model: str, device: str, query_encoder: str | None, engine: str) -> Separator:
    from clipsep.separation.separator import Separator

    return Separator.from_pretrained(model, device, query_encoder, engine=engine)


def _each(
    work: Callable[[Path], FindResult],
    inputs: list[Path],
    format: str,
    plot: Path | None,
    about_tables: str = "",
) -> None:
    """Print what is found in each input. One of several that cannot be searched costs no other one."""
    from clipsep.finding.exports import as_csv, as_labels
    from clipsep.finding.timeline import draw_timeline

    results: list[FindResult] = []
    entries: list[dict[str, Any]] = []
    for source in inputs:
        try:
            result = _of_recording(work, source)
        except ClipsepError as error:
            if len(inputs) == 1:
                raise
            name, reason = _name_of(source), str(error)
            entries.append({"input": name, "status": "failed", "reason": reason})
            named = reason if name in reason else f"{name}: {reason}"
            print(f"clipsep: error: {printable(named)}", file=sys.stderr)
            continue
        results.append(result)
        entries.append(result.as_dict())
        if format == "table":
            _print_table(result, named=len(inputs) > 1)
    if format == "table" and about_tables and any(result.sounds for result in results):
        print(about_tables)
    elif format == "json":
        print(json.dumps(entries if len(inputs) > 1 else entries[0], indent=2, allow_nan=False))
    elif format == "csv":
        print(as_csv(results), end="")
    elif format == "labels":
        print(as_labels(results[0]), end="")
    if plot:
        draw_timeline(results[0], plot)
    if len(results) < len(inputs):
        raise typer.Exit(1)


def _of_recording(work: Callable[[Path], FindResult], source: Path) -> FindResult:
    with recording_of(source) as path:
        result = work(path)
    return replace(result, source=_name_of(source))


def _name_of(source: Path) -> str:
    return STDIN_NAME if source == STDIO else str(source)


def _print_table(result: FindResult, named: bool) -> None:
    if named and result.sounds:
        print(f"{printable(result.source)}:")
    table = table_of("sound", "confidence", "in all", "when", right=(1, 2))
    for sound in result.sounds:
        when = ", ".join(f"{_clock(span.start)}-{_clock(span.end)}" for span in sound.spans)
        table.add_row(
            *cells(
                sound.query,
                f"{100 * sound.confidence:.0f} %",
                f"{sound.seconds:.1f} s",
                when or "not found",
            )
        )
    if result.sounds:
        stdout().print(table)
    else:
        print(f"None of the sounds that the model knows was found in {printable(result.source)}.")


def _clock(seconds: float) -> str:
    """1:02.5 from 62.5 on, and 2.5 below a minute."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}" if minutes else f"{rest:.1f}"
