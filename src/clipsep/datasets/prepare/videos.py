"""`prepare`: from video files to a data set of audio and frames, resumable and by many workers.

`fill_dataset` serves other sources, too. Decoding is media's work, the layout on disk the writer's.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from clipsep.datasets.reader import SAMPLE_RATE
from clipsep.datasets.writer import STAGING, DatasetWriter, shuffle_key, stage_clip
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import VIDEO_SUFFIXES, find_files, fingerprint, hold
from clipsep.media import read_video
from clipsep.messages import Progress, unexpected
from clipsep.parallel.run import run_many
from clipsep.parallel.task import Task, require_shared_folder

SILENCE = 1e-4  # peak below which a video counts as silent: three steps of 16 bits


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video file to prepare.

    Attributes:
        id: its path below the folder, which is its name in the data set, too.
        fingerprint: changes when the file does.
        label: an empty one removes that of a stored clip, None leaves it as it is.
    """

    folder: Path
    id: str
    fingerprint: str
    label: str | None = None

    @property
    def path(self) -> Path:
        return self.folder / self.id


def find_videos(sources: Iterable[str | Path], labels: str | Path | None = None) -> list[VideoFile]:
    """Find the video files among ``sources`` (files, or folders searched to any depth), by their ids.

    Args:
        labels: CSV of ``path,label``, paths as ids: relative to the folder given.

    Raises:
        UsageError: for a source that does not exist, no videos at all, two of one name, or labels of
            which none belongs to a video.
    """
    label_of = _read_labels(labels) if labels else {}
    videos: dict[str, VideoFile] = {}
    for source in sources:
        for folder, name in find_files(source, VIDEO_SUFFIXES):
            video = VideoFile(folder, name, fingerprint(folder / name), label_of.get(name))
            if name in videos:
                raise UsageError(
                    f"'{videos[name].path}' and '{video.path}' would both be called '{name}': "
                    "prepare their common folder instead."
                )
            videos[name] = video
    if not videos:
        raise UsageError("There is no video file (.mp4, .mkv, .webm, ...) among the given paths.")
    if labels and not label_of.keys() & videos.keys():
        raise UsageError(
            f"'{labels}' names none of the videos: its paths are relative to the folder given, as in "
            f"'{min(videos)}'."
        )
    return [videos[clip_id] for clip_id in sorted(videos)]


def labels_without_video(labels: str | Path, videos: Iterable[VideoFile]) -> list[str]:
    """List the paths in a CSV of labels that match no video; UsageError if it is not such a CSV."""
    return sorted(_read_labels(labels).keys() - {video.id for video in videos})


def prepare(
    videos: list[VideoFile],
    output: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> PrepareReport:
    """Decode every video once into a data set; finished ones are not done again.

    A video that cannot be used is recorded in ``rejected.csv`` with its reason; the others are still
    prepared.
    The files are the same whatever the workers, and however often the work was interrupted.

    Args:
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        UsageError: if the videos lie in the output folder itself.
        ClipsepError: if the output cannot be written or the workers cannot be used.
    """
    output = Path(output)
    if output.resolve() in {folder.resolve() for folder in {video.folder for video in videos}}:
        raise UsageError(f"'{output}' is the folder of the videos, too: choose another with -o.")
    output = output.absolute()
    return fill_dataset(output, videos, _Stage(output), workers, progress, ray)


@dataclass(frozen=True)
class _Stage:
    """Decodes and stages a video; the result is why it cannot be used, or None."""

    output: Path
    device: ClassVar[str] = "cpu"

    def __call__(self, video: VideoFile) -> str | None:
        require_shared_folder(self.output / STAGING)
        require_shared_folder(video.path.parent)
        try:
            decoded = read_video(video.path, SAMPLE_RATE)
        except ClipsepError as error:
            return str(error)
        except Exception as error:  # a fault of ours must not cost the other videos
            return unexpected(video.path, error)
        if np.abs(decoded.audio).max(initial=0) < SILENCE:
            return f"'{video.path}' is silent."
        stage_clip(
            self.output, video.id, video.fingerprint, video.label, decoded.audio, decoded.frames
        )
        return None

    def died(self, video: VideoFile) -> str:
        return (
            f"'{video.path}' killed every process that decoded it (a damaged file, or too little "
            "memory); to try it again, remove its line from rejected.csv."
        )


def _read_labels(path: str | Path) -> dict[str, str]:
    problem = "its first line is not 'path,label'"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if {"path", "label"} <= set(reader.fieldnames or ()):
                return {row["path"]: row["label"] or "" for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = str(error)
    raise UsageError(f"'{path}' is not a CSV file with the columns path,label: {problem}.")


class Source(Protocol):
    """What becomes a clip of the same id; its fingerprint changes when it does.

    Its label replaces that of a clip in the data set; None leaves it, an empty one removes it.
    """

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def label(self) -> str | None: ...


_Source = TypeVar("_Source", bound=Source)


@dataclass
class PrepareReport:
    """What became of the sources. ``rejected`` maps an id to the reason.

    Attributes:
        lost: clips of damaged or missing shards that were not stored again.
    """

    stored: int = 0
    already_there: int = 0
    lost: int = 0
    rejected: dict[str, str] = field(default_factory=dict)


def fill_dataset(
    output: Path,
    sources: Sequence[_Source],
    stage: Task[_Source, str | None],
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> PrepareReport:
    """Stage every source that is not in the data set yet, and move what was staged into shards.

    Args:
        stage: stages the clip of a source; gives None, or why the source cannot be used.
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        ClipsepError: if the output cannot be written or the workers cannot be used.
    """
    held: int | None = None
    try:
        labels = {one.id: one.label for one in sources if one.label is not None}
        (output / STAGING).mkdir(parents=True, exist_ok=True)
        held = hold(output / STAGING)
        if held is None:
            raise UsageError(
                f"Another process is writing the data set '{output}': wait until it has finished."
            )
        writer = DatasetWriter(output, labels)
        report = PrepareReport()
        waiting = [one for one in sources if not writer.finished(one.id, one.fingerprint)]
        waiting.sort(
            key=lambda source: shuffle_key(source.id)
        )  # so that shards can be written meanwhile
        writer.expect(source.id for source in waiting)
        finished = len(sources) - len(waiting)
        with closing(run_many(stage, waiting, workers, ray)) as outcomes:
            for source, reason in outcomes:
                if reason is None:
                    writer.add(source.id, source.fingerprint)
                    report.stored += 1
                else:
                    writer.reject(source.id, source.fingerprint, reason)
                finished += 1
                if progress:
                    progress(finished, len(sources))
        report.lost = writer.close()
    except OSError as error:
        raise ClipsepError(
            f"Cannot write to '{output}': {error.strerror or error}; what is finished stays, and the "
            "same command continues from there."
        ) from error
    finally:
        if held is not None:
            os.close(held)
    for source in sources:
        rejected, reason = writer.rejected.get(source.id, (None, ""))
        if rejected == source.fingerprint:
            report.rejected[source.id] = reason
    report.already_there = len(sources) - report.stored - len(report.rejected)
    return report
