"""`prepare` and `embed`: from video files to a data set with one embedding per picture.

Decoding is media's work and the layout on disk is the store's; nothing here knows of training.
"""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsep.datasets.embeddings import EmbeddingStore
from clipsep.datasets.store import SAMPLE_RATE, ClipStore
from clipsep.datasets.store_writer import StoreWriter, stage_clip
from clipsep.errors import ClipsepError, UsageError
from clipsep.media import read_video
from clipsep.queries import QueryEncoder

_SUFFIXES = ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split(" "))
SILENCE = 1e-4  # peak below which a video counts as silent: three steps of 16 bits
Progress = Callable[[int, int], None]  # (finished, total)


@dataclass(frozen=True)
class VideoFile:
    """A video file to prepare and the name it gets in the data set."""

    id: str
    path: Path
    label: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes when the file does."""
        stat = self.path.stat()
        return f"{stat.st_size}:{stat.st_mtime_ns}"


@dataclass
class PrepareReport:
    """What became of the videos. ``rejected`` maps an id to the reason."""

    stored: int = 0
    already_there: int = 0
    rejected: dict[str, str] = field(default_factory=dict)


def find_videos(sources: Iterable[Path], labels: Path | None = None) -> list[VideoFile]:
    """The video files among ``sources`` (files, or folders searched to any depth).

    Args:
        labels: CSV of ``path,label``, paths as ids: relative to the folder given.

    Raises:
        UsageError: for a source that does not exist, no videos at all, or two of one name.
    """
    label_of = _read_labels(labels) if labels else {}
    videos: dict[str, VideoFile] = {}
    for source in sources:
        if not source.exists():
            raise UsageError(f"'{source}' does not exist.")
        for path in _videos_in(source):
            clip_id = path.relative_to(source).as_posix() if source.is_dir() else path.name
            if clip_id in videos:
                raise UsageError(
                    f"'{videos[clip_id].path}' and '{path}' would both be called '{clip_id}': "
                    "prepare their common folder instead."
                )
            videos[clip_id] = VideoFile(clip_id, path, label_of.get(clip_id))
    if not videos:
        raise UsageError("There is no video file (.mp4, .mkv, .webm, ...) among the given paths.")
    return [videos[clip_id] for clip_id in sorted(videos)]


def prepare(
    videos: list[VideoFile],
    output: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Decode every video once into a data set; finished ones are not done again.

    A video that cannot be used is recorded in ``rejected.csv`` with its reason and the rest goes on.

    Args:
        workers: processes; by default one per core.

    Raises:
        ClipsepError: if the output cannot be written or a worker process dies.
    """
    try:
        writer = StoreWriter(output)
    except OSError as error:
        raise ClipsepError(f"Cannot write to '{output}': {error.strerror}.") from error
    report = PrepareReport()
    waiting = [video for video in videos if not writer.finished(video.id, video.fingerprint)]
    finished = len(videos) - len(waiting)
    for video, reason in _run(waiting, output, workers or os.cpu_count() or 1):
        if reason is None:
            report.stored += 1
        else:
            writer.reject(video.id, video.fingerprint, reason)
        writer.compact()
        finished += 1
        if progress:
            progress(finished, len(videos))
    writer.close()
    for video in videos:
        fingerprint, reason = writer.rejected.get(video.id, ("", ""))
        if fingerprint == video.fingerprint:
            report.rejected[video.id] = reason
    report.already_there = len(videos) - report.stored - len(report.rejected)
    return report


def embed(
    store: ClipStore,
    encoder: QueryEncoder,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> int:
    """Store one embedding per picture of a data set; returns how many were computed now.

    Resumes shard by shard after an interrupt.
    """
    embeddings = EmbeddingStore(store, encoder.id)
    missing = embeddings.missing_shards()
    done = len(store.shards) - len(missing)
    count = 0
    for shard in missing:
        frames = (frame for clip in store.frames_of_shard(shard) for frame in clip)
        parts = [encoder.encode_images(batch).cpu() for batch in _batches(frames, batch_size)]
        embeddings.write(shard, torch.cat(parts).numpy())
        count += sum(len(part) for part in parts)
        done += 1
        if progress:
            progress(done, len(store.shards))
    return count


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _run(
    videos: list[VideoFile], output: Path, workers: int
) -> Iterator[tuple[VideoFile, str | None]]:
    """Decode and stage the videos, in any order; yields each with why it was rejected, or None."""
    if workers == 1 or len(videos) < 2:
        for video in videos:
            yield video, _stage_one(video, output)
        return
    # Spawned, not forked: a fork would copy the locks of torch's and ffmpeg's threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with _interrupts_ignored():
            futures = {pool.submit(_stage_one, video, output): video for video in videos}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ClipsepError(
                "A worker process died (out of memory?): run the same command again to go on, "
                "with fewer --workers if it happens again."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C: they end their video quietly, the parent stops."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears it, and only it may choose not to
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _stage_one(video: VideoFile, output: Path) -> str | None:
    """Decode and stage one video; returns why it is of no use, or None."""
    try:
        decoded = read_video(video.path, SAMPLE_RATE)
    except ClipsepError as error:
        return str(error)
    if np.abs(decoded.audio).max(initial=0) < SILENCE:
        return f"'{video.path}' is silent."
    stage_clip(output, video.id, video.fingerprint, video.label, decoded.audio, decoded.frames)
    return None


def _videos_in(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(p for p in source.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)


def _read_labels(path: Path) -> dict[str, str]:
    problem = "its first line is not 'path,label'"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if {"path", "label"} <= set(reader.fieldnames or ()):
                return {row["path"]: row["label"] for row in reader}
    except (OSError, UnicodeDecodeError) as error:
        problem = str(error)
    raise UsageError(f"'{path}' is no CSV file with the columns path,label: {problem}.")
