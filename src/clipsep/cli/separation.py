"""`clipsep separate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsep.cli.output import AsJson, Device, cells, progress_bar, stdout, table_of
from clipsep.errors import UsageError

if TYPE_CHECKING:
    from clipsep.files import FileReport, TrackReport


def separate(
    input: Annotated[Path, typer.Argument(metavar="INPUT", help="Sound or video file.")],
    query: Annotated[
        list[str] | None,
        typer.Option("-q", "--query", metavar="TEXT", help="Sound to separate; may be repeated."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="PICTURE", help="Picture of a sound's source; may be repeated."),
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
    device: Device = "auto",
    format: Annotated[
        str, typer.Option(metavar="NAME", help="wav, flac, mp3, ogg, opus or m4a.")
    ] = "wav",
    plot: Annotated[bool, typer.Option("--plot", help="Draw spectrograms of all parts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Separate a recording into one file per query."""
    queries = [*(query or []), *(image or [])]
    if not queries:
        raise UsageError('Say what to separate: -q "dog barking", or --image with a picture.')
    from clipsep.separator import Separator

    separator = Separator.from_pretrained(model, device, query_encoder)
    with progress_bar(f"separating {input.name}") as progress:
        report = separator.separate_file(
            input, queries, output, residual, binary, format, plot, progress
        )
    if as_json:
        print(json.dumps(_report_as_dict(report), indent=2))
    else:
        _print_report(report)
    _note_clipping(report)


def _print_report(report: FileReport) -> None:
    table = table_of("query", "level", "share of energy", "file", right=(1, 2))
    tracks = dict(report.targets)
    if report.residual:
        tracks["(residual)"] = report.residual
    for name, track in tracks.items():
        table.add_row(
            *cells(name, _level(track.level), f"{100 * track.energy_share:.1f} %", track.path)
        )
    table.add_row(*cells("(mixture)", _level(report.level), "100.0 %", report.source))
    stdout().print(table)
    if report.picture:
        print(f"Spectrograms: {report.picture}")


def _report_as_dict(report: FileReport) -> dict[str, Any]:
    """What `--json` prints; levels in dB of full scale (null for silence), shares from 0 to 1."""

    def track_as_dict(track: TrackReport) -> dict[str, Any]:
        return {
            "file": str(track.path),
            "level_dbfs": track.level,
            "energy_share": track.energy_share,
            "clipped_samples": track.clipped,
        }

    return {
        "input": str(report.source),
        "sample_rate": report.sample_rate,
        "channels": report.channels,
        "seconds": report.seconds,
        "level_dbfs": report.level,
        "targets": [
            {"query": name, **track_as_dict(track)} for name, track in report.targets.items()
        ],
        "residual": track_as_dict(report.residual) if report.residual else None,
        "picture": str(report.picture) if report.picture else None,
    }


def _note_clipping(report: FileReport) -> None:
    tracks = [*report.targets.values(), *([report.residual] if report.residual else [])]
    for track in tracks:
        if track.clipped:
            print(
                f"clipsep: note: {track.clipped} samples of {track.path} were louder than the "
                "format can hold and were limited; --format wav keeps them.",
                file=sys.stderr,
            )


def _level(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} dBFS"
