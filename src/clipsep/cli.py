"""The command line: each command parses, calls the Python API and prints; nothing else happens here.

Heavy imports stand inside the commands, so that `--help` and mistakes in the options answer at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from clipsep import __version__
from clipsep.errors import ClipsepError, UsageError

if TYPE_CHECKING:
    from clipsep.files import FileReport, TrackReport

app = typer.Typer(
    help="Separate the sound that a text or a picture names out of any recording.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130
_RESUMABLE = ("prepare", "embed", "train")
# What is not installed with the plain package, and the extra that brings it.
_EXTRA_OF = {"pyarrow": "train", "pytorch_lightning": "train", "transformers": "clip"}
# Typer's own errors (unknown option, missing argument, ...), whichever click it is built on.
_ParseError = typer.BadParameter.__base__

Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto (a GPU if there is one), cpu or cuda.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        argv: the arguments without the program's name; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    command = typer.main.get_command(app)
    try:
        code = command.main(argv or ["--help"], prog_name="clipsep", standalone_mode=False)
        sys.stdout.flush()
    except ClipsepError as error:
        return _fail(str(error), error.exit_code)
    except _ParseError as error:
        return _fail(_explain(error), UsageError.exit_code)
    except ModuleNotFoundError as error:
        return _fail(_how_to_install(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:
        return _leave_closed_pipe()
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        return _fail(f"The system refused{where}: {error.strerror or error}.")
    except MemoryError:
        return _fail("There is not enough memory for this.")
    if code == INTERRUPTED:
        print(_interrupted(argv), file=sys.stderr)
    return code or 0


@app.command()
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
    with _progress(f"separating {input.name}") as progress:
        report = separator.separate_file(
            input, queries, output, residual, binary, format, plot, progress
        )
    if as_json:
        print(json.dumps(_report_as_dict(report), indent=2))
    else:
        _print_report(report)
    _note_clipping(report)


@app.command()
def prepare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCES", help="Video files, or folders of them.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the data set.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns path,label; for baselines and scores."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; by default one per core.")
    ] = None,
) -> None:
    """Make a data set of videos.

    Each video is decoded once; run the command again to add videos, or to go on after an interrupt.
    """
    from clipsep.datasets.videos import find_videos
    from clipsep.datasets.videos import prepare as prepare_videos

    videos = find_videos(sources, labels)
    with _progress("preparing videos") as progress:
        report = prepare_videos(videos, output, workers, progress)
    for clip_id, reason in report.rejected.items():
        print(f"rejected {clip_id}: {reason}")
    print(
        f"videos: {report.stored + report.already_there} stored in {output} ({report.stored} of them now), "
        f"{len(report.rejected)} rejected."
    )
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)


@app.command()
def embed(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder made by 'clipsep prepare'.")
    ],
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="embedded, clip, clip:MODEL or efficientnet.")
    ] = "embedded",
    device: Device = "auto",
) -> None:
    """Embed the pictures of a data set.

    Run the command again to go on after an interrupt.
    """
    from clipsep.datasets.store import ClipStore
    from clipsep.datasets.videos import embed as embed_pictures
    from clipsep.devices import choose_device
    from clipsep.queries import load_query_encoder

    store = ClipStore(dataset)
    query_encoder = load_query_encoder(encoder, str(choose_device(device)))
    with _progress("embedding pictures") as progress:
        count = embed_pictures(store, query_encoder, progress=progress)
    print(f"{count} pictures of {dataset} were embedded now by {query_encoder.id}; all are there.")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file; see configs/.", metavar="CONFIG.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of it.", metavar="key=value")
    ] = None,
) -> None:
    """Train a model as a config says.

    Run the command again to go on after an interrupt.
    """
    from clipsep.training.config import load_config
    from clipsep.training.run import train as run_training

    settings = load_config(config, overrides)
    try:
        best = run_training(settings, progress=sys.stderr.isatty())
    except SystemExit as error:
        # Lightning turns Ctrl-C into this.
        raise KeyboardInterrupt from error
    print(f"The best model is in {best}: clipsep separate INPUT -q TEXT --model {best}")


@app.command()
def models() -> None:
    """List the models that come with the package."""
    from clipsep.checkpoint import shipped_models
    from clipsep.model_summary import summarize

    table = _table("name", "parameters", "size", "query encoder", "what for")
    for folder in shipped_models().values():
        summary = summarize(folder)
        table.add_row(*_cells(summary.name, *_sizes(summary), summary.encoder, summary.purpose))
    _stdout().print(table)
    print("A folder or a Hugging Face id (owner/model) of another model can be used as well.")


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Shipped model, folder or Hugging Face id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a model is and how it was trained."""
    from clipsep.checkpoint import find_checkpoint, load_config
    from clipsep.model_summary import summarize

    folder = find_checkpoint(model)
    config, summary = load_config(folder), summarize(folder)
    content = config.model_dump(mode="json")
    if as_json:
        print(
            json.dumps(
                {"parameters": summary.parameters, "folder": str(folder), **content}, indent=2
            )
        )
        return
    parameters, size = _sizes(summary)
    print(f"{config.name}: {summary.purpose}; {parameters} parameters, {size}, in {folder}\n")
    training = content.pop("training")
    _stdout().print_json(data=content)
    print("\nTraining:" if training else "\nNothing is noted of its training.")
    if training:
        _stdout().print_json(data=training)


@app.command()
def import_published(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT.pt")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the new model.")
    ],
    args: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="The train-args.json published beside the weights."),
    ] = None,
) -> None:
    """Import weights of the published CLIPSep."""
    from clipsep.published import import_published as import_checkpoint

    config = import_checkpoint(checkpoint, output, args)
    print(
        f"{output} is now the model '{config.name}' ({config.model.kind}, query encoder "
        f"{config.query_encoder}): clipsep separate INPUT -q TEXT --model {output}"
    )


def _print_version(asked: bool) -> None:
    if asked:
        print(f"clipsep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Separate the sound that a text or a picture names out of any recording."""


def _print_report(report: FileReport) -> None:
    table = _table("query", "level", "share of energy", "file", right=(1, 2))
    tracks = dict(report.targets)
    if report.residual:
        tracks["(residual)"] = report.residual
    for name, track in tracks.items():
        table.add_row(
            *_cells(name, _level(track.level), f"{100 * track.energy_share:.1f} %", track.path)
        )
    table.add_row(*_cells("(mixture)", _level(report.level), "100.0 %", report.source))
    _stdout().print(table)
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


def _sizes(summary: Any) -> tuple[str, str]:
    return f"{summary.parameters / 1e6:.2f} M", f"{summary.n_bytes / 1e6:.1f} MB"


def _table(*columns: str, right: tuple[int, ...] = (1, 2)) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, column in enumerate(columns):
        # Folded, not cut: a path must stay whole.
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    return table


def _cells(*values: object) -> list[Text]:
    """As they are: a bracket in a query is no markup."""
    return [Text(str(value)) for value in values]


def _stdout() -> Console:
    """A console that does not fold lines when nobody looks at them."""
    return Console(width=None if sys.stdout.isatty() else 1000)


@contextmanager
def _progress(task: str) -> Iterator[Callable[[float, float | None], None] | None]:
    """A function that moves a bar on the terminal; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(number, completed=done, total=total)


def _fail(sentence: str, exit_code: int = ClipsepError.exit_code) -> int:
    print("clipsep: error:", re.sub(r"\s*\n\s*", " ", sentence), file=sys.stderr)
    return exit_code


def _explain(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "clipsep"
    return f"{error.format_message().rstrip('.')}: see '{command} --help'."


def _how_to_install(error: ModuleNotFoundError) -> str:
    package = (error.name or "").split(".")[0]
    if package in _EXTRA_OF:
        return (
            f"This command needs the package {package}: pip install 'clipsep[{_EXTRA_OF[package]}]'"
        )
    return f"The package {package} is missing: install clipsep again with pip."


def _interrupted(argv: list[str]) -> str:
    if argv and argv[0] in _RESUMABLE:
        return "clipsep: interrupted: run the same command again to go on."
    return "clipsep: interrupted: nothing was written."


def _leave_closed_pipe() -> int:
    """Quietly: the reader of our output has seen enough."""
    # Else the interpreter would complain about it once more when it flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
