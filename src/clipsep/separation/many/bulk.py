"""Separating many recordings: each on its own, bad ones noted, finished ones not done again.

How one file is separated, the Separator decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from clipsep.devices import one_thread
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import (
    fingerprint,
    is_disk_full,
    remove_unfinished,
    require_text,
)
from clipsep.media import check_writable
from clipsep.messages import Progress, unexpected
from clipsep.parallel.run import local_workers, run_many
from clipsep.parallel.task import require_shared_folder
from clipsep.separation.files.figure import require_matplotlib
from clipsep.separation.files.outputs import FileReport
from clipsep.separation.many.journal import SeparationReport
from clipsep.separation.many.recordings import Recording
from clipsep.separation.many.request import SeparationRequest
from clipsep.separation.querying.asked import EncodedQueries
from clipsep.separation.separator import Separator


@dataclass
class BulkReport:
    """What became of the recordings.

    Attributes:
        notes: an entry for each recording.
        failed: maps a recording to the reason.
        clipped: samples that the file format could not hold, of all that was separated now.
        resampled: recordings whose sample rate the file format does not have.
    """

    notes: SeparationReport
    separated: int = 0
    already_there: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    clipped: int = 0
    resampled: int = 0

    def count(self, recording: Recording, entry: dict[str, Any]) -> None:
        """Take in what became of a recording now."""
        if entry["status"] == "failed":
            self.failed[recording.path] = entry["reason"]
            return
        self.separated += 1
        tracks = [*entry["targets"], *filter(None, [entry["residual"]])]
        self.clipped += sum(track["clipped_samples"] for track in tracks)
        self.resampled += any(track["sample_rate"] != entry["sample_rate"] for track in tracks)


def separate_files(
    recordings: Sequence[Recording],
    request: SeparationRequest,
    output: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> BulkReport:
    """Separate every recording; those that a former call has finished are not done again.

    What became of each is noted in ``report.jsonl`` in the output folder. A recording that cannot be
    separated is noted with the reason; the others are still separated, and the next call tries it again.

    Args:
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        UsageError: if the request is wrong, or two recordings would be written to the same files.
        ClipsepError: if the model, the output folder or the workers cannot be used, or if matplotlib is
            missing for figures.
    """
    if request.options.plot:
        require_matplotlib()
    request, output = request.with_absolute_paths(), Path(output).absolute()
    outputs = _outputs(recordings, request, output)
    request.digest  # noqa: B018 - names a model that cannot be used before anything is written
    with _made_folder(output):
        notes = SeparationReport(output)
        report = BulkReport(notes)
        waiting = []
        for recording in recordings:
            if request.options.skip_existing and request.is_written(recording, output):
                if not notes.knows(recording.path):
                    notes.add(_found_written(recording))
            elif not notes.holds(recording.path, _state(recording, request, output)):
                waiting.append(recording)
        report.already_there = finished = len(recordings) - len(waiting)
        if ray is None:
            workers = workers or local_workers(request.device)
        try:
            with closing(run_many(_Separate(request, output), waiting, workers, ray)) as outcomes:
                for recording, entry in outcomes:
                    notes.add(entry)
                    report.count(recording, entry)
                    finished += 1
                    if progress:
                        progress(finished, len(recordings))
            notes.tidy()
        finally:
            _remove_leftovers(outputs)
    return report


@dataclass(frozen=True)
class _Separate:
    """Separates one recording; the result is its entry in the report."""

    request: SeparationRequest
    output: Path

    @property
    def device(self) -> str:
        return self.request.device

    def __call__(self, recording: Recording) -> dict[str, Any]:
        require_shared_folder(self.output)
        require_shared_folder(recording.path.parent)
        with one_thread():
            separator, queries = self._loaded
            try:
                report = self._separate(recording, separator, queries)
            except ClipsepError as error:
                if is_disk_full(error, self.output):
                    raise ClipsepError(
                        f"{error} The remaining files were not tried: make room, then run the same "
                        "command again."
                    ) from error
                return _failure(recording, str(error))
            except Exception as error:  # a fault of ours must not cost the other files
                return _failure(recording, unexpected(recording.path, error))
        state = _state(recording, self.request, self.output)
        return {**report.as_dict(), "status": "separated", "reason": None, "state": state}

    def prepare(self) -> None:
        """Load the model and read the queries now; see `clipsep.parallel.task.Task`."""
        _ = self._loaded

    def died(self, recording: Recording) -> dict[str, Any]:
        return _failure(recording, f"'{recording.path}' killed every process that separated it.")

    def _separate(
        self, recording: Recording, separator: Separator, queries: EncodedQueries
    ) -> FileReport:
        report = separator.separate_file(
            recording.path,
            queries,
            (self.output / recording.name).parent,
            self.request.options_for(recording).changed(skip_existing=False),
        )
        assert report is not None
        return report

    @cached_property
    def _loaded(self) -> tuple[Separator, EncodedQueries]:
        request = self.request
        separator = Separator.from_pretrained(
            request.model, request.device, request.query_encoder, engine=request.engine, threads=1
        )
        return separator, separator.encode(request.queries, request.options)

    def __reduce__(self) -> tuple:
        # A worker loads the model itself.
        return _Separate, (self.request, self.output)


def _failure(recording: Recording, reason: str) -> dict[str, Any]:
    return {"input": str(recording.path), "status": "failed", "reason": reason, "state": None}


def _state(recording: Recording, request: SeparationRequest, output: Path) -> dict[str, Any]:
    """By which a finished separation is known to be the one that is wanted, and untouched."""
    return {
        "input": recording.fingerprint,
        "request": request.digest,
        "outputs": [fingerprint(path) for path in request.outputs(recording, output)],
    }


def _found_written(recording: Recording) -> dict[str, Any]:
    reason = "its files were there"
    return {"input": str(recording.path), "status": "skipped", "reason": reason, "state": None}


def _outputs(
    recordings: Iterable[Recording], request: SeparationRequest, output: Path
) -> Iterable[Path]:
    """All files that will be written; UsageError if two recordings have some in common."""
    owners: dict[Path, Recording] = {}
    inputs = {recording.path for recording in recordings}
    for recording in recordings:
        for path in request.outputs(recording, output):
            if path in inputs:
                raise UsageError(
                    f"'{path}' is to be separated, and would be written by '{recording.path}', too: choose "
                    "another output folder."
                )
            if path in owners:
                raise UsageError(
                    f"'{owners[path].path}' and '{recording.path}' would both be written to '{path}': "
                    "separate them into different folders."
                )
            owners[path] = recording
    return owners.keys()


@contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Make a folder; if the work inside fails before anything is in it, remove it."""
    check_writable(require_text(folder))
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _remove_leftovers(outputs: Iterable[Path]) -> None:
    """Remove unfinished files of processes that were killed."""
    names: dict[Path, set[str]] = {}
    for path in outputs:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        remove_unfinished(folder, wanted)
