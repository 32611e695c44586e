"""`clipsep separate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.cli.console import (
    AsJson,
    Device,
    Ray,
    Sensitivity,
    Workers,
    cells,
    progress_bar,
    stdout,
    table_of,
)
from clipsep.cli.feedback import feedback_cells, note_on
from clipsep.errors import UsageError
from clipsep.messages import counted, printable

if TYPE_CHECKING:
    from clipsep.separation.bulk import SeparationRequest
    from clipsep.separation.outputs import FileReport


def separate(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUTS", help="Sound or video files, or folders of them."),
    ],
    query: Annotated[
        list[str] | None,
        typer.Option("-q", "--query", metavar="TEXT", help="Sound to separate; may be repeated."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", help="Image of a sound's source; may be repeated."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the separated files."),
    ] = Path("separated"),
    residual: Annotated[bool, typer.Option("--residual", help="Write what is left too.")] = False,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Shipped model, folder or Hugging Face id.")
    ] = "mini",
    query_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where the model's encoder is: embedded, clip, clip:FOLDER."
        ),
    ] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Masks of 0 and 1, not soft.")] = False,
    sensitivity: Sensitivity = 0.5,
    device: Device = "auto",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="auto, onnx (needs no PyTorch) or pytorch.")
    ] = "auto",
    format: Annotated[
        str, typer.Option(metavar="NAME", help="wav, flac, mp3, ogg, opus or m4a.")
    ] = "wav",
    plot: Annotated[bool, typer.Option("--plot", help="Draw spectrograms of all parts.")] = False,
    as_json: AsJson = False,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Separate recordings into one file per query.

    With folders or several files, bad ones are listed; run the command again to go on after an
    interrupt.
    """
    queries = [*(query or []), *(image or [])]
    if not queries:
        raise UsageError('Say what to separate: -q "dog barking", or --image with an image.')
    if len(inputs) > 1 or inputs[0].is_dir() or ray is not None:
        from clipsep.separation.bulk import SeparationRequest

        request = SeparationRequest(
            queries,
            model,
            query_encoder,
            residual,
            binary,
            format,
            plot,
            device,
            engine,
            sensitivity,
        )
        _separate_many(inputs, request, output, workers, ray, as_json)
        return
    from clipsep.separation.separator import Separator

    separator = Separator.from_pretrained(model, device, query_encoder, engine=engine)
    with progress_bar(f"separating {inputs[0].name}") as progress:
        report = separator.separate_file(
            inputs[0], queries, output, residual, binary, format, plot, progress, sensitivity
        )
    if as_json:
        print(json.dumps(report.as_dict(), indent=2, allow_nan=False))
    else:
        _print_report(report)
    for track in report.tracks:
        if track.clipped:
            _note_clipping(track.clipped, str(track.path))


def _separate_many(
    inputs: list[Path],
    request: SeparationRequest,
    output: Path,
    workers: int | None,
    ray: str | None,
    as_json: bool,
) -> None:
    from clipsep.separation.bulk import find_recordings, separate_files

    recordings = find_recordings(inputs, output)
    with progress_bar("separating files") as progress:
        report = separate_files(recordings, request, output, workers, progress, ray)
    good = report.separated + report.already_there
    if as_json:
        entries = [report.notes.entry(one.path) for one in recordings]
        print(json.dumps(entries, indent=2, allow_nan=False))
    else:
        for path, reason in report.failed.items():
            print(f"failed {printable(path)}: {printable(reason)}")
        print(
            f"files: {good} separated in {output} ({report.separated} of them now), "
            f"{len(report.failed)} failed; their levels and shares are in {report.notes.path}."
        )
    if report.clipped:
        _note_clipping(report.clipped, f"the files in {output}")
    if not good:
        raise typer.Exit(1)


def _print_report(report: FileReport) -> None:
    from clipsep.separation.confidence import QueryFeedback

    says = any(one != QueryFeedback() for one in report.feedback.values())
    about = ("known", "confidence") if says else ()
    columns = ("query", *about, "level", "share of energy", "file")
    table = table_of(*columns, right=tuple(range(1 + bool(says), len(columns) - 1)))
    tracks = dict(report.targets)
    if report.residual:
        tracks["(residual)"] = report.residual
    for name, track in tracks.items():
        share = f"{100 * track.energy_share:.1f} %"
        feedback = feedback_cells(report.feedback.get(name))[: len(about)]
        table.add_row(*cells(name, *feedback, _level(track.level), share, track.path))
    nothing = [""] * len(about)
    table.add_row(*cells("(mixture)", *nothing, _level(report.level), "100.0 %", report.source))
    stdout().print(table)
    if report.figure:
        print(f"Spectrograms: {report.figure}")
    for name, feedback in report.feedback.items():
        if note := note_on(name, feedback):
            print(f"clipsep: note: {printable(note)}", file=sys.stderr)


def _note_clipping(samples: int, of_what: str) -> None:
    print(
        f"clipsep: note: {counted(samples, 'sample')} of {of_what} had to be limited, louder than the "
        "format can hold; --format wav keeps them.",
        file=sys.stderr,
    )


def _level(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} dBFS"
