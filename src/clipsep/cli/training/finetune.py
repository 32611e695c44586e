"""`clipsep finetune`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.cli.console import AsJson, Device, cells, progress_bar, stdout, table_of

if TYPE_CHECKING:
    from clipsep.workflows.before_after import Score


def finetune(
    clips: Annotated[
        Path, typer.Argument(metavar="CLIPS", help="Folder of recordings of the sound; twenty do.")
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="TEXT", help="What it is called, as in 'my machine'.")
    ] = ...,  # type: ignore[assignment]  # typer's word for what has to be given
    image: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="An image of it, for queries by image.")
    ] = None,
    others: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Other sounds to mix with, in a folder for each."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="By default runs/NAME.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="To start from: shipped model, folder or hub id.")
    ] = "mini",
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Of the training.")] = 300,
    share: Annotated[
        float,
        typer.Option(metavar="0..1", help="Of the new weights; less forgets less of other sounds."),
    ] = 0.8,
    check: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Test mixtures that show what is forgotten elsewhere."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where that list's paths begin.")
    ] = None,
    every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Score every Nth mixture of that list.")
    ] = 1,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Teach a model a sound from a few recordings.

    One in four recordings is kept to measure the gain; --check measures what it costs elsewhere.
    """
    from clipsep.workflows.finetune import Finetuning
    from clipsep.workflows.finetune import finetune as run_finetuning

    folder = output or Path("runs") / "-".join(name.split())
    request = Finetuning(
        name=" ".join(name.split()),
        clips=clips,
        output=folder,
        image=image,
        others=others,
        model=model,
        steps=steps,
        share=share,
        check=check,
        audio=audio,
        every=every,
        device=device,
    )
    try:
        with progress_bar("training") as progress:
            tell = partial(print, file=sys.stderr)
            report = run_finetuning(request, tell, progress)
    except SystemExit as error:
        # Lightning turns Ctrl-C into this.
        raise KeyboardInterrupt from error
    if as_json:
        scores = [asdict(score) for score in report.scores]
        print(json.dumps({"model": str(report.model), "scores": scores}, indent=2))
        return
    _print_scores(report.scores)
    print(f'The new model: clipsep separate INPUT -q "{request.name}" --model {report.model}')


def _print_scores(scores: list[Score]) -> None:
    table = table_of("SDR in dB", "mixtures", "before", "after", "change", right=(1, 2, 3, 4))
    for score in scores:
        spread = "" if score.difference_error is None else f" ± {score.difference_error:.2f}"
        change = f"{score.after - score.before:+.2f}{spread}"
        row = (score.what, score.mixtures, f"{score.before:.2f}", f"{score.after:.2f}", change)
        table.add_row(*cells(*row))
    stdout().print(table)
