"""Download a list of clips: in parallel, resumable, with a record of what is missing and why.

Layout of the folder: ``<split>/<label>/<clip>.mp4``, ``<split>/labels.csv`` for `prepare --labels`,
``missing.csv``.
"""

from __future__ import annotations

import csv
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from clipsep.errors import ClipsepError
from clipsep.files import atomic_write
from clipsep.media import probe
from clipsep.messages import Progress
from clipsep.paper.download.rate_limiter import RateLimiter
from clipsep.paper.download.youtube import FetchFailed, VideoMissing
from clipsep.paper.public_sets import SPLITS, ListedClip

# (clip, folder for its files, event that is set when all is called off) -> the finished file; raises
# VideoMissing and FetchFailed.
Fetch = Callable[[ListedClip, Path, threading.Event], Path]
Outcome = VideoMissing | FetchFailed | None  # what kept a clip away, or None


@dataclass(frozen=True)
class DownloadSettings:
    """How fast to fetch, and when to give up.

    Attributes:
        workers: videos fetched at the same time.
        pause: seconds between the starts of two of them.
        retries: new tries of one clip, and failures in a row of any clips, before giving up.
        retry_missing: try again to fetch what ``missing.csv`` lists.
    """

    workers: int = 4
    pause: float = 5.0
    retries: int = 6
    retry_missing: bool = False


@dataclass
class DownloadReport:
    """What became of the clips; ``missing`` and ``failed`` map a clip's name to the reason.

    A failed clip is tried again by the next run, a missing one is not.
    """

    stored: int = 0
    already_there: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def download(
    clips: list[ListedClip],
    root: str | Path,
    fetch: Fetch,
    longer_than: float,
    settings: DownloadSettings | None = None,
    progress: Progress | None = None,
) -> DownloadReport:
    """Fetch the clips that are not in ``root`` yet.

    Args:
        longer_than: seconds of audio; a shorter clip counts as missing.

    Raises:
        ClipsepError: if one request after the other fails, or the disk is full. What is finished is
            kept, and the same call continues.
    """
    root, settings = Path(root), settings or DownloadSettings()
    report = DownloadReport()
    there = {clip.name for clip in clips if _in_place(clip, root)}
    report.already_there = len(there)
    for name in there:
        # Left by a kill at the very end of a clip.
        shutil.rmtree(root / "partial" / name, ignore_errors=True)
    for split in SPLITS:
        _write_labels(root / split, [clip for clip in clips if clip.split == split])
    missing = _MissingList(root / "missing.csv")
    missing.forget(there)
    skipped = there if settings.retry_missing else there | missing.reasons.keys()
    waiting = [clip for clip in clips if clip.name not in skipped]
    finished = len(clips) - len(waiting)
    cancelled = threading.Event()
    rate_limiter = RateLimiter(settings.pause, settings.retries, cancelled)
    job = _Job(root, fetch, longer_than, rate_limiter, cancelled)
    for clip, outcome in _run(waiting, job, settings):
        if isinstance(outcome, VideoMissing):
            missing.add(clip.name, str(outcome))
        elif isinstance(outcome, FetchFailed):
            report.failed[clip.name] = str(outcome)
        else:
            report.stored += 1
            there.add(clip.name)
        finished += 1
        if progress:
            progress(finished, len(clips))
    missing.forget(there)
    with suppress(OSError):
        (root / "partial").rmdir()  # unless something is to be continued
    names = {clip.name for clip in clips}
    report.missing = {name: why for name, why in missing.reasons.items() if name in names}
    return report


def _run(
    clips: list[ListedClip], job: _Job, settings: DownloadSettings
) -> Iterator[tuple[ListedClip, Outcome]]:
    """Fetch the clips in parallel, in any order; yields each with what became of it.

    A clip that failed goes to the end of the queue, so that it does not keep the others waiting.
    """
    tries: Counter[str] = Counter()
    results: SimpleQueue[tuple[ListedClip, Future[Outcome]]] = SimpleQueue()
    with ThreadPoolExecutor(settings.workers) as pool:

        def submit(clip: ListedClip) -> None:
            future = pool.submit(job.do, clip)
            future.add_done_callback(lambda done: results.put((clip, done)))

        try:
            for clip in clips:
                submit(clip)
            left = len(clips)
            while left:
                clip, future = results.get()
                outcome = future.result()
                tries[clip.name] += 1
                if isinstance(outcome, FetchFailed) and tries[clip.name] <= settings.retries:
                    submit(clip)
                    continue
                left -= 1
                yield clip, outcome
        finally:
            job.cancelled.set()
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Job:
    """Fetches one clip at a time to its place; shared by all workers."""

    root: Path
    fetch: Fetch
    longer_than: float
    rate_limiter: RateLimiter
    cancelled: threading.Event

    def do(self, clip: ListedClip) -> Outcome:
        """Fetch a clip; raises ClipsepError when all must stop, Cancelled when called off."""
        sent_at = self.rate_limiter.wait()
        try:
            self._store(clip)
        except VideoMissing as error:
            shutil.rmtree(self._folder(clip))
            outcome: Outcome = error
        except FetchFailed as error:
            self.rate_limiter.failed(sent_at, f"{clip.name}: {error}", error.wait)
            return error
        else:
            outcome = None
        self.rate_limiter.succeeded()
        return outcome

    def _store(self, clip: ListedClip) -> None:
        folder = self._folder(clip)
        folder.mkdir(parents=True, exist_ok=True)
        path = self.fetch(clip, folder, self.cancelled)
        self._check(path)
        final = self.root / clip.path
        final.parent.mkdir(parents=True, exist_ok=True)
        path.replace(final)
        shutil.rmtree(folder)

    def _folder(self, clip: ListedClip) -> Path:
        """Where what a killed run has of a long video waits to be continued."""
        return self.root / "partial" / clip.name

    def _check(self, path: Path) -> None:
        try:
            info = probe(path)
        except ClipsepError as error:
            path.unlink()  # else it would be found and taken for finished
            raise FetchFailed("the file that arrived is not a video with audio") from error
        if not info.has_video:
            raise VideoMissing("has no frames")
        if info.seconds is not None and info.seconds <= self.longer_than:
            raise VideoMissing(f"only {info.seconds:.1f} s long")


def _in_place(clip: ListedClip, root: Path) -> bool:
    """Whether the clip is there; one that an earlier run put in another split is moved."""
    path = root / clip.path
    if path.is_file():
        return True
    for split in SPLITS:
        elsewhere = root / replace(clip, split=split).path
        if elsewhere.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            elsewhere.replace(path)
            return True
    return False


def _write_labels(folder: Path, clips: Iterable[ListedClip]) -> None:
    """Add the labels of ``clips``, whether they are there yet or not, to the folder's labels.csv."""
    path = folder / "labels.csv"
    labels = dict(_read_pairs(path))
    labels |= {clip.path.partition("/")[2]: clip.label for clip in clips}
    if labels:
        folder.mkdir(parents=True, exist_ok=True)
        _write_csv(path, [("path", "label"), *sorted(labels.items())])


class _MissingList:
    """``missing.csv``: clips that are not available, and why; every line is on disk at once."""

    _HEADER = ("id", "reason")

    def __init__(self, path: Path):
        self._path = path
        self.reasons = dict(_read_pairs(path))

    def add(self, name: str, reason: str) -> None:
        """Record a clip; one whose reason is known already is not written again."""
        if self.reasons.get(name) == reason:
            return
        if not self._path.is_file():
            _write_csv(self._path, [self._HEADER])
        self.reasons[name] = reason
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow((name, reason))

    def forget(self, names: Iterable[str]) -> None:
        """Strike out clips that are there after all, and put the others in order."""
        names = set(names)
        kept = sorted(item for item in self.reasons.items() if item[0] not in names)
        if kept != list(self.reasons.items()):
            self.reasons = dict(kept)
            _write_csv(self._path, [self._HEADER, *kept])


def _read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Read the rows of a CSV file of two columns, without its header; none if there is no file."""
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            # The last line may be cut if the machine went down.
            yield from ((row[0], row[1]) for row in list(csv.reader(file))[1:] if len(row) == 2)


def _write_csv(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)
