"""Separating many recordings: each on its own, bad ones noted, finished ones not done again.

It knows files and what is asked of them; how one file is separated is the Separator's business.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from clipsep._version import __version__
from clipsep.checkpoint import WEIGHTS_NAME, find_checkpoint, load_config, shipped_models
from clipsep.devices import one_thread
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import (
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    find_files,
    fingerprint,
    is_disk_full,
    require_text,
)
from clipsep.media import check_writable
from clipsep.messages import unexpected
from clipsep.parallel.run import local_workers, run_many
from clipsep.parallel.task import Progress, require_shared_folder
from clipsep.queries.parsing import IMAGE_SUFFIXES, Frame, Query
from clipsep.separation.asked import AskedQueries, EncodedQueries
from clipsep.separation.files.outputs import FileReport, output_paths
from clipsep.separation.many.journal import SeparationReport
from clipsep.separation.options import SeparationOptions
from clipsep.separation.separator import Separator

_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]+\.part")  # how AudioWriter calls an unfinished file


@dataclass(frozen=True)
class Recording:
    """A file to separate; its path below the folder that was given comes back in the output folder.

    Attributes:
        suffix: of the recording, kept in the names of its files where they would else be those of another.
    """

    folder: Path
    name: str
    fingerprint: str
    suffix: str = ""

    @property
    def path(self) -> Path:
        return self.folder / self.name


@dataclass(frozen=True)
class SeparationRequest:
    """What is asked of every recording, in the words of `Separator.separate_file`."""

    queries: Sequence[Query]
    model: str = "mini"
    query_encoder: str | None = None
    options: SeparationOptions = field(default_factory=SeparationOptions)
    device: str = "auto"
    engine: str = "auto"

    @cached_property
    def names(self) -> list[str]:
        """Of the targets; UsageError for a bad query."""
        return AskedQueries(self.queries, self.options).names

    @cached_property
    def digest(self) -> str:
        """Changes with everything that the outputs depend on, but for the recording itself."""
        folder = find_checkpoint(self.model)
        config = load_config(folder)
        weights = config.sha256 or fingerprint(folder / WEIGHTS_NAME)
        images = [fingerprint(path) for path in map(_image_path, self._all_queries) if path]
        asked = {
            **asdict(replace(self, options=replace(self.options, skip_existing=False))),
            "device": None,
            "engine": None,
            "model": config.model_dump(mode="json"),
        }
        content = repr([__version__, asked, weights, images])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def options_for(self, recording: Recording) -> SeparationOptions:
        """With file names in which the recording keeps its suffix, if it needs that."""
        template = self.options.filename.replace("{stem}", "{stem}" + recording.suffix)
        return self.options.changed(filename=template)

    def outputs(self, recording: Recording, output: Path) -> list[Path]:
        """The files that a recording becomes."""
        folder = (output / recording.name).parent
        options = self.options_for(recording)
        tracks, figure = output_paths(recording.path, folder, self.names, options)
        return [*tracks.values(), *([figure] if figure else [])]

    def is_written(self, recording: Recording, output: Path) -> bool:
        """Whether all files that a recording becomes are there."""
        return all(path.is_file() for path in self.outputs(recording, output))

    def with_absolute_paths(self) -> SeparationRequest:
        """The same for workers, which have working folders of their own."""
        options = replace(
            self.options,
            exclude=_with_absolute(self.options.exclude),
            remove=_with_absolute(self.options.remove),
            gain={_absolute(query): gain for query, gain in self.options.gain.items()},
        )
        model = self.model
        if model not in shipped_models() and Path(model).is_dir():
            model = str(Path(model).absolute())
        encoder = self.query_encoder
        family, _, place = (encoder or "").partition(":")
        if place and Path(place).is_dir():
            encoder = f"{family}:{Path(place).absolute()}"
        return replace(
            self,
            queries=_with_absolute(self.queries),
            options=options,
            model=model,
            query_encoder=encoder,
        )

    @property
    def _all_queries(self) -> list[Query]:
        options = self.options
        return [*self.queries, *options.exclude, *options.remove, *options.gain]


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


def find_recordings(inputs: Iterable[Path], output: Path) -> list[Recording]:
    """The files among ``inputs``: files, or folders searched at any depth for sound and videos.

    Args:
        output: folder for what becomes of them; where it lies in an input, it is not searched.

    Raises:
        UsageError: for an input that does not exist, or if there is nothing to separate.
    """
    inputs, output = list(inputs), output.resolve()
    recordings: dict[Path, Recording] = {}
    for source in inputs:
        if source.resolve() == output:
            raise UsageError(f"'{source}' is the output folder, too: choose another with -o.")
        holds_output = source.resolve() in output.parents
        for folder, name in find_files(source, SOUND_SUFFIXES | VIDEO_SUFFIXES):
            path = folder / name
            if not (holds_output and output in path.resolve().parents):
                recordings.setdefault(path, Recording(folder, name, fingerprint(path)))
    if not recordings:
        named = ", ".join(f"'{source}'" for source in inputs)
        raise UsageError(f"There is no sound or video file in {named}.")
    return _told_apart([recordings[path] for path in sorted(recordings)])


def _told_apart(recordings: list[Recording]) -> list[Recording]:
    """Of b.wav beside b.mp4, each keeps its suffix."""
    stems = Counter(Path(recording.name).with_suffix("") for recording in recordings)
    return [
        replace(one, suffix=one.path.suffix) if stems[Path(one.name).with_suffix("")] > 1 else one
        for one in recordings
    ]


def separate_files(
    recordings: Sequence[Recording],
    request: SeparationRequest,
    output: Path,
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> BulkReport:
    """Separate every recording; those that a former call has finished are not done again.

    What became of each is noted in ``report.jsonl`` in the output folder. A recording that cannot be
    separated is noted with the reason, the rest goes on, and the next call tries it again.

    Args:
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        UsageError: if the request is wrong, or two recordings would be written to the same files.
        ClipsepError: if the model, the output folder or the workers cannot be used.
    """
    request, output = request.with_absolute_paths(), output.absolute()
    outputs = _outputs(recordings, request, output)
    request.digest  # noqa: B018 - names a model that is of no use before anything is written
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
    """By which a finished separation is known to be the one that is asked for, and untouched."""
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


def _image_path(query: Query) -> Path | None:
    """The file that a query names; None for a text."""
    if isinstance(query, Frame):
        raise UsageError("A frame is a query for the one video file that it is taken from.")
    if isinstance(query, Path):
        return query
    if isinstance(query, str) and Path(query).suffix.lower() in IMAGE_SUFFIXES:
        return Path(query)
    return None


def _absolute(query: Query) -> Query:
    path = _image_path(query)
    return path.absolute() if path else query


def _with_absolute(queries: Sequence[Query]) -> list[Query]:
    return [_absolute(query) for query in queries]


@contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """The folder exists inside; if the work fails before anything is in it, it goes again."""
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
    """Unfinished files of processes that were killed."""
    names: dict[Path, set[str]] = {}
    for path in outputs:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        for path in folder.glob(".*.part"):
            match = _LEFTOVER.fullmatch(path.name)
            if match and match[1] in wanted:
                path.unlink(missing_ok=True)
