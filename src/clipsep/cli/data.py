"""Commands that make data sets: `prepare` and `embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipsep.cli.output import Device, progress_bar


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
    with progress_bar("preparing videos") as progress:
        report = prepare_videos(videos, output, workers, progress)
    for clip_id, reason in report.rejected.items():
        print(f"rejected {clip_id}: {reason}")
    print(
        f"videos: {report.stored + report.already_there} stored in {output} ({report.stored} of them now), "
        f"{len(report.rejected)} rejected."
    )
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)


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
    with progress_bar("embedding pictures") as progress:
        count = embed_pictures(store, query_encoder, progress=progress)
    print(f"{count} pictures of {dataset} were embedded now by {query_encoder.id}; all are there.")
