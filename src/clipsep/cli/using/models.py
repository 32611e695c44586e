"""Commands about models: `models`, `info`, `export` and `bench`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clipsep.cli.console import AsJson, Device, cells, progress_bar, stdout, table_of
from clipsep.cli.recordings import Model
from clipsep.errors import ClipsepError
from clipsep.messages import printable

_SHOWN = 3  # other words for a sound in the list of sounds

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Shipped model, folder or Hugging Face id.")
]


def models(
    sounds: Annotated[
        bool, typer.Option("--sounds", help="List the sounds that a model was trained with.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="Of --sounds: shipped model, folder or Hugging Face id."
        ),
    ] = "mini",
    as_json: AsJson = False,
) -> None:
    """List the shipped models, or the sounds they know."""
    if sounds:
        _print_sounds(model, as_json)
        return
    from clipsep.checkpoint import shipped_models, summarize
    from clipsep.engines import engines_of

    found = {folder: summarize(folder) for folder in shipped_models().values()}
    if as_json:
        entries = [
            {**asdict(summary), "folder": str(folder), "engines": engines_of(folder)}
            for folder, summary in found.items()
        ]
        print(json.dumps(entries, indent=2))
        return
    table = table_of("name", "parameters", "size", "query encoder", "engines", "what for")
    for folder, summary in found.items():
        engines = ", ".join(engines_of(folder))
        table.add_row(
            *cells(summary.name, *_sizes(summary), summary.encoder, engines, summary.purpose)
        )
    stdout().print(table)
    print("A folder or a Hugging Face id (owner/model) of another model can be used as well.")


def _print_sounds(model: str, as_json: bool) -> None:
    from clipsep.checkpoint import find_checkpoint, load_config

    config = load_config(find_checkpoint(model))
    wordings = config.known.wordings if config.known else {}
    if as_json:
        sounds = {label: wordings.get(label, []) for label in config.known_sounds}
        print(json.dumps(sounds, indent=2, ensure_ascii=False))
        return
    if not config.known_sounds:
        raise ClipsepError(
            f"The model '{config.name}' does not say which sounds it was trained with."
        )
    for label in config.known_sounds:
        others = wordings.get(label, [])
        shown = ", ".join(others[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        print(printable(f"{label} ({shown}{more})" if others else label))
    if any(len(others) > _SHOWN for others in wordings.values()):
        print("note: --json lists all words for them.", file=sys.stderr)


def info(
    model: ModelArgument,
    as_json: AsJson = False,
) -> None:
    """Show what a model is and how it was trained."""
    from clipsep.checkpoint import find_checkpoint, load_config, summarize
    from clipsep.engines import engines_of

    folder = find_checkpoint(model)
    config, summary = load_config(folder), summarize(folder)
    content = config.model_dump(mode="json")
    if as_json:
        print(
            json.dumps(
                {
                    "parameters": summary.parameters,
                    "folder": str(folder),
                    "engines": engines_of(folder),
                    **content,
                },
                indent=2,
            )
        )
        return
    parameters, size = _sizes(summary)
    print(
        f"{printable(config.name)}: {summary.purpose}; {parameters} parameters, {size}, in {folder}\n"
    )
    training = content.pop("training")
    if content["known"]:  # hundreds of them: clipsep models --sounds
        wordings = content["known"]["wordings"]
        content["known"]["wordings"] = (
            f"{sum(map(len, wordings.values()))} for {len(wordings)} sounds"
        )
    stdout().print_json(data=content)
    print("\nTraining:" if training else "\nThe model does not say how it was trained.")
    if training:
        stdout().print_json(data=training)


def export(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Folder for a copy of the model with its export.",
        ),
    ] = None,
) -> None:
    """Write a model's ONNX file, to run without PyTorch."""
    from clipsep.errors import require

    require("torch", "onnx", "onnxscript", extra="export", purpose="exporting a model")
    from clipsep.checkpoint import ONNX_NAME
    from clipsep.engines.export import export_checkpoint

    result = export_checkpoint(model, output)
    print(
        f"{result.folder / ONNX_NAME}: {result.n_bytes / 1e3:.0f} kB, its masks differ from PyTorch's by "
        f"at most {result.difference:.1e}"
    )


def push(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owner sees it.")] = False,
    license: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the weights, for the card: mit, ...")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Write the files here, and send nothing."
        ),
    ] = None,
) -> None:
    """Send a model to the Hugging Face hub, with a card."""
    from clipsep.workflows.hub import push_to_hub, save_pretrained

    if output:
        for path in save_pretrained(model, output, license, repository):
            print(path)
    else:
        print(push_to_hub(model, repository, private, license))


def bench(
    model: Model = "mini",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="onnx, pytorch, auto, or all that are installed.")
    ] = "all",
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads of one operation; else one per core."),
    ] = None,
    seconds: Annotated[
        int, typer.Option(metavar="N", min=5, help="Length of the audio that is separated.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine separates, and in how much memory."""
    from clipsep.checkpoint import find_checkpoint
    from clipsep.engines import engines_of
    from clipsep.separation.speed import FORMATS, measure_speed

    names = engines_of(find_checkpoint(model)) if engine == "all" else [engine]
    results = []
    for name in names:
        with progress_bar(f"measuring {name}") as progress:
            results.append(measure_speed(model, name, device, threads, seconds, progress=progress))
    if as_json:
        print(json.dumps([result.as_dict() for result in results], indent=2))
        return
    columns = ("load", "first query", *FORMATS, "2nd query", "peak memory")
    table = table_of("engine", "device", *columns, right=tuple(range(2, 2 + len(columns))))
    for result in results:
        memory = result.peak_megabytes
        table.add_row(
            *cells(
                result.engine,
                result.device,
                f"{result.load_seconds:.2f} s",
                f"{result.query_seconds:.2f} s",
                *(f"{times:.0f} x real time" for times in result.times_real_time.values()),
                f"+{max(0.0, result.further_query_percent):.0f} %",
                "unknown" if memory is None else f"{memory:.0f} MB",
            )
        )
    stdout().print(table)


def _sizes(summary: Any) -> tuple[str, str]:
    return f"{summary.parameters / 1e6:.2f} M", f"{summary.n_bytes / 1e6:.1f} MB"
