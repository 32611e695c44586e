"""A list's mixtures as files, so that any other separator can work on them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import soundfile

from clipsep.errors import ClipsepError
from clipsep.evaluation.lists import read_any
from clipsep.evaluation.mixtures import load_sources
from clipsep.files import atomic_write


def write_mixtures(
    name: str | Path,
    folder: str | Path,
    audio: str | Path | None = None,
    progress: Callable[[float, float | None], None] | None = None,
) -> Path:
    """Write ``mixture/ID.wav``, ``reference/ID.wav`` and ``list.csv``, a ``files:`` list of them.

    Samples are 32-bit floating point, at the list's own rate, so that scores are those of the list itself.

    Args:
        name, audio: see `read_any`.

    Returns:
        the path of list.csv.

    Raises:
        UsageError: if the list cannot be read.
        ClipsepError: if a sound cannot be read, or a file not written.
    """
    folder, mixtures = Path(folder), read_any(name, audio)
    rows: list[tuple[str, ...]] = [("id", "mixture", "reference", "query", "label", "sample_rate")]
    try:
        for done, mixture in enumerate(mixtures, 1):
            sources = load_sources(mixture)
            paths = [f"{kind}/{mixture.id}.wav" for kind in ("mixture", "reference")]
            for path, sound in zip(paths, (sources.sum(axis=0), sources[0]), strict=True):
                with atomic_write(folder / path) as temporary:
                    soundfile.write(temporary, sound, mixture.sample_rate, "FLOAT", format="WAV")
            rows.append(
                (mixture.id, *paths, mixture.query, mixture.label or "", str(mixture.sample_rate))
            )
            if progress:
                progress(done, len(mixtures))
        with (
            atomic_write(folder / "list.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows(rows)
    except (OSError, soundfile.SoundFileError) as error:
        raise ClipsepError(f"Cannot write the mixtures to '{folder}': {error}.") from error
    return folder / "list.csv"
