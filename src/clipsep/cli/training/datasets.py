"""Commands that make data sets: `prepare` and `embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipsep.cli.console import Device, Ray, Workers, print_prepared, progress_bar
from clipsep.errors import UsageError
from clipsep.messages import counted


def prepare(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCES", help="Video files, or folders of them."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the data set.")
    ] = ...,  # type: ignore[assignment]  # typer's word for what has to be given
    sounds: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Audio files instead, in a folder for each sound, with images of it or without.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Columns path,label; for baselines and scores. Stored videos get them, too.",
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Columns path,caption, a row for each text; for texts=captions. Also for stored clips.",
        ),
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Make a data set of videos, or of sounds.

    Each file is decoded once; run the command again to add files, or to go on after an interrupt.
    """
    if bool(sources) == (sounds is not None):
        raise UsageError("Name videos, or a folder of audio files with --sounds.")
    if sounds is not None:
        if labels:
            raise UsageError("--labels is for videos: the folders of --sounds are the labels.")
        _prepare_sounds(sounds, output, captions, workers, ray)
        return
    if captions:
        from clipsep.datasets.captions import read_captions_csv

        read_captions_csv(captions)  # report a bad file before the work starts
    from clipsep.datasets.prepare.videos import find_videos, labels_without_video
    from clipsep.datasets.prepare.videos import prepare as prepare_videos

    videos = find_videos(sources or [], labels)
    with progress_bar("preparing videos") as progress:
        report = prepare_videos(videos, output, workers, progress, ray)
    print_prepared("video", report, output)
    if labels:
        named = sum(video.label is not None for video in videos)
        print(
            f"labels: {labels} labels {named} of {counted(len(videos), 'video')}; "
            f"{len(labels_without_video(labels, videos))} of its rows match no video."
        )
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)
    if captions:
        _add_captions(captions, output)


def _add_captions(path: Path, output: Path) -> None:
    from clipsep.datasets.captions import add_captions, read_captions_csv
    from clipsep.datasets.reader import PreparedDataset

    clips = PreparedDataset(output).clips
    found, others = add_captions(output, read_captions_csv(path), (clip.id for clip in clips))
    print(
        f"captions: {path} has texts for {counted(found, 'clip')} of the data set, and for {others} that "
        "it lacks."
    )


def _prepare_sounds(
    folder: Path, output: Path, captions: Path | None, workers: int | None, ray: str | None
) -> None:
    from clipsep.datasets.prepare.sounds import find_sounds, prepare_sounds

    files = find_sounds([folder])
    with progress_bar("preparing audio") as progress:
        report = prepare_sounds(files, output, workers, progress, ray)
    print_prepared("clip", report, output)
    labels = {file.label for file in files}
    without = sorted({file.label or "" for file in files if not file.images})
    print(f"labels: {counted(len(labels), 'kind')} of sound.")
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        print(
            f"without images: {', '.join(without[:3])}{more}; train with query=text, for which 'clipsep "
            "embed' is not needed."
        )
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)
    if captions:
        _add_captions(captions, output)


def embed(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Folder made by 'clipsep prepare', or its URL.")
    ],
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="embedded, clip, clip:MODEL or efficientnet.")
    ] = "embedded",
    audio: Annotated[
        bool,
        typer.Option(
            "--audio",
            help="The audio around each frame, for query=audio; for encoders that read it.",
        ),
    ] = False,
    device: Device = "auto",
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Embed the frames of a data set, or its audio.

    After an interruption, run the command again: it continues.
    """
    from clipsep.datasets.prepare.embed import embed as embed_frames

    with progress_bar("embedding audio" if audio else "embedding frames") as progress:
        report = embed_frames(dataset, encoder, device, workers, progress, ray, audio)
    seconds = counted(report.frames, "second of audio", "seconds of audio")
    what = seconds if audio else counted(report.frames, "frame")
    print(f"{what} of {dataset} embedded now by {report.encoder_id}; all are there.")
