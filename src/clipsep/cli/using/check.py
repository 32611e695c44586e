"""`clipsep check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from clipsep.cli.console import AsJson
from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import counted, printable


def check(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCES",
            help="Data sets (folders or URLs), models, runs; audio, video or image files.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Find damaged files.

    Data sets and models are compared with their checksums; recordings, videos and images are decoded to
    their end. Exit code 1 if anything is damaged.
    """
    findings = []
    for source in sources:
        for name, problem in _check(source):
            findings.append({"file": name, "problem": problem})
            if problem and not as_json:
                print(f"damaged {printable(name)}: {printable(problem)}")
    damaged = sum(finding["problem"] is not None for finding in findings)
    if as_json:
        print(json.dumps(findings, indent=2))
    else:
        print(f"checked: {counted(len(findings), 'file')}, {damaged} damaged.")
    if damaged:
        raise typer.Exit(1)


def _check(source: str) -> Iterator[tuple[str, str | None]]:
    """Files of a source, and what is wrong with them."""
    path = Path(source)
    if "://" in source or (path / "index.arrow").is_file():
        from clipsep.datasets.check import check_dataset

        for finding in _to_the_first_error(check_dataset(source), f"{source}/index.arrow"):
            yield f"{source}/{finding[0]}" if finding[0] != source else source, finding[1]
        return
    from clipsep.checkpoint import CONFIG_NAME, shipped_models

    folders = [path / "best", path / "last"] if path.is_dir() else []
    models = [folder for folder in folders if (folder / CONFIG_NAME).is_file()]
    if source in shipped_models() or (path / CONFIG_NAME).is_file():
        models.append(shipped_models().get(source, path))
    if models:
        for model in models:
            yield str(model), _problem(_check_model, model)
        return
    yield from _check_files(path)


def _check_files(source: Path) -> Iterator[tuple[str, str | None]]:
    from clipsep.files import SOUND_SUFFIXES, VIDEO_SUFFIXES, find_files
    from clipsep.queries.parsing import IMAGE_SUFFIXES

    suffixes = SOUND_SUFFIXES | VIDEO_SUFFIXES | IMAGE_SUFFIXES
    files = sorted(folder / name for folder, name in find_files(source, suffixes))
    if not files:
        raise UsageError(
            f"Found nothing to check in '{source}': name data sets, models or media files."
        )
    for path in files:
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        yield str(path), _problem(_check_image if is_image else _check_sound, path)


def _check_model(folder: Path) -> None:
    from clipsep.checkpoint import ONNX_NAME, load_config, verify_weights
    from clipsep.engines import engines_of, load_engine

    config = load_config(folder)
    verify_weights(folder, config)
    for engine in engines_of(folder):
        load_engine(folder, config, engine, "cpu")
    if not engines_of(folder):
        raise ClipsepError(
            f"'{folder}' has no {ONNX_NAME}, and its weights cannot be tried without PyTorch."
        )


def _check_sound(path: Path) -> None:
    from clipsep.media import AudioReader

    with AudioReader(path) as reader:
        for _ in reader:
            pass


def _check_image(path: Path) -> None:
    from clipsep.media.images import open_image

    open_image(path)


def _problem(check, path: Path) -> str | None:
    try:
        check(path)
    except ClipsepError as error:
        return str(error)
    return None


def _to_the_first_error(findings, name: str) -> Iterator[tuple[str, str | None]]:
    """Yield findings; an error that makes the data set unreadable is a finding, too."""
    try:
        yield from findings
    except UsageError:
        raise
    except ClipsepError as error:
        yield name, str(error)
