"""`clipsep paper ...`: what only reproducing Dong et al. (2023) needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.cli.console import Ray, print_prepared, progress_bar
from clipsep.cli.console import Workers as Processes
from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import counted

if TYPE_CHECKING:
    from clipsep.paper.download.clips import DownloadSettings
    from clipsep.paper.public_sets import ListedClip, PublicSet, SplitRule

paper = typer.Typer(
    help="Reproduce the paper: its data, its test mixtures, its weights.", rich_markup_mode=None
)
download = typer.Typer(help="Download the videos of a public data set.", rich_markup_mode=None)
paper.add_typer(download, name="download")

Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the videos.")
]
Val = Annotated[
    list[Path] | None,
    typer.Option(metavar="LIST.csv", help="Published list of validation clips; may be repeated."),
]
Test = Annotated[
    list[Path] | None,
    typer.Option(metavar="LIST.csv", help="Published list of test clips; may be repeated."),
]
Split = Annotated[
    list[str] | None,
    typer.Option(metavar="SPLIT", help="Fetch only train, val or test; may be repeated."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="LABEL", help="Fetch only this label; may be repeated."),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Fetch at most N clips, for a trial.")
]
Workers = Annotated[int, typer.Option(metavar="N", min=1, help="Videos fetched at the same time.")]
Pause = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0, help="Between the starts of two videos."),
]
Retries = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="Attempts after the first, each after a pause twice as long."
    ),
]
RetryMissing = Annotated[
    bool, typer.Option("--retry-missing", help="Try again to fetch what missing.csv lists.")
]


@download.command()
def music(
    lists: Annotated[
        list[Path], typer.Argument(metavar="LIST.json", help="MUSIC_solo_videos.json, ...")
    ],
    output: Output,
    val: Val = None,
    test: Test = None,
    split: Split = None,
    only: Only = None,
    limit: Limit = None,
    workers: Workers = 4,
    pause: Pause = 5.0,
    rate_limit: Annotated[
        int | None, typer.Option(metavar="BYTES", min=1, help="Per second and video.")
    ] = None,
    retries: Retries = 6,
    retry_missing: RetryMissing = False,
) -> None:
    """Download MUSIC: whole videos of its JSON lists.

    After an interruption, run the command again: it continues.
    """
    from clipsep.paper.download.clips import DownloadSettings
    from clipsep.paper.public_sets import MUSIC, read_music

    clips = _chosen(read_music(lists, _split_rule(MUSIC, val, test)), split, only, limit)
    settings = DownloadSettings(workers, pause, retries, retry_missing)
    _download(clips, output, MUSIC, settings, rate_limit)


@download.command()
def vggsound(
    index: Annotated[Path, typer.Argument(metavar="vggsound.csv", help="The published index.")],
    output: Output,
    val: Val = None,
    test: Test = None,
    split: Split = None,
    only: Only = None,
    limit: Limit = None,
    workers: Workers = 4,
    pause: Pause = 5.0,
    retries: Retries = 6,
    retry_missing: RetryMissing = False,
) -> None:
    """Download VGGSound: the ten seconds of each video that its CSV names.

    After an interruption, run the command again: it continues.
    """
    from clipsep.paper.download.clips import DownloadSettings
    from clipsep.paper.public_sets import VGGSOUND, read_vggsound

    clips = _chosen(read_vggsound(index, _split_rule(VGGSOUND, val, test)), split, only, limit)
    settings = DownloadSettings(workers, pause, retries, retry_missing)
    _download(clips, output, VGGSOUND, settings)


@paper.command()
def import_list(
    list_file: Annotated[
        Path, typer.Argument(metavar="LIST.csv", help="Lines of wav,frame_dir,n_frames,label.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DATASET", help="Folder of the data set.")
    ],
    root: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the list's relative paths begin.")
    ] = Path(),
    workers: Processes = None,
    ray: Ray = None,
) -> None:
    """Make a data set of a published list.

    After an interruption, run the command again: it continues.
    """
    from clipsep.paper.import_list import import_list as import_rows

    with progress_bar("importing clips") as progress:
        report = import_rows(list_file, output, root, workers, progress, ray)
    print_prepared("clip", report, output)
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)


@paper.command()
def mixtures(
    targets: Annotated[
        Path, typer.Argument(metavar="TARGETS.csv", help="Published list; one mixture per clip.")
    ],
    interferers: Annotated[
        Path, typer.Argument(metavar="INTERFERERS.csv", help="Published list to draw from.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="MIXTURES.csv", help="List of mixtures to write."),
    ],
    root: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the lists' relative paths begin.")
    ] = Path(),
    videos: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Made by 'clipsep paper download'; may be repeated."),
    ] = None,
    sources: Annotated[
        int, typer.Option(metavar="N", min=2, max=64, help="Sounds in each mixture.")
    ] = 2,
) -> None:
    """Rebuild the published test mixtures.

    MUSIC+ is MUSIC/solo/test.csv with vggsound/test-good-no-music.csv, VGGSound-Clean+ is
    vggsound/test-good.csv with vggsound/test-no-music.csv.
    """
    from clipsep.evaluation.mixtures import write_mixture_list
    from clipsep.paper.mixtures import published_mixtures

    report = published_mixtures(targets, interferers, root, videos or [], sources)
    left_out = len(report.left_out)
    total = len(report.mixtures) + left_out
    first = next(iter(report.left_out.values()), None)
    if not report.mixtures:
        raise ClipsepError(
            f"No mixture of {total} has all of its files ('{first}' is missing): check --root, or give "
            "--videos."
        )
    write_mixture_list(report.mixtures, output)
    print(f"{len(report.mixtures)} of {counted(total, 'mixture')} in {output}.")
    if report.left_out:
        print(
            f"Left out because files are missing: {counted(left_out, 'mixture')}, the first: {first}"
        )
    if report.trained_on:
        print(
            f"Among training videos: {counted(len(report.trained_on), 'target')}; before you train, run "
            f"'clipsep paper download' with --test {targets}."
        )


@paper.command()
def import_checkpoint(
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
    from clipsep.paper.checkpoints import import_published

    config = import_published(checkpoint, output, args)
    print(
        f"{output} is now the model '{config.name}' ({config.model.kind}, query encoder "
        f"{config.query_encoder}): clipsep separate INPUT -q TEXT --model {output}"
    )


def _split_rule(
    public_set: PublicSet, val: list[Path] | None, test: list[Path] | None
) -> SplitRule:
    from clipsep.paper.public_sets import SplitRule

    return SplitRule(public_set, {"val": val or [], "test": test or []})


def _chosen(
    clips: list[ListedClip], splits: list[str] | None, labels: list[str] | None, limit: int | None
) -> list[ListedClip]:
    from clipsep.paper.public_sets import SPLITS

    if unknown := set(splits or ()) - set(SPLITS):
        raise UsageError(f"--split: '{min(unknown)}' is not train, val or test.")
    if unknown := set(labels or ()) - {clip.label for clip in clips}:
        raise UsageError(f"--only: the index has no label '{min(unknown)}'.")
    return [
        clip
        for clip in clips
        if clip.split in (splits or SPLITS) and (not labels or clip.label in labels)
    ][:limit]


def _download(
    clips: list[ListedClip],
    output: Path,
    public_set: PublicSet,
    settings: DownloadSettings,
    rate_limit: int | None = None,
) -> None:
    from clipsep.paper.download.clips import download as download_clips
    from clipsep.paper.download.youtube import YouTube

    fetch = YouTube(rate_limit).fetch
    with progress_bar("downloading videos") as progress:
        report = download_clips(clips, output, fetch, public_set.longer_than, settings, progress)
    for name, reason in report.failed.items():
        print(f"failed {name}: {reason}")
    why = f" (see {output / 'missing.csv'})" if report.missing else ""
    print(
        f"videos: {report.stored + report.already_there} of {len(clips)} in {output} ({report.stored} "
        f"of them now), {len(report.missing)} missing{why}."
    )
    if report.failed:
        raise ClipsepError(
            f"{len(report.failed)} of {counted(len(clips), 'video')} failed this time: run the same "
            "command again to continue."
        )
    if report.stored + report.already_there == 0:
        raise typer.Exit(1)
