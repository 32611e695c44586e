"""What one job does, and the files that come of it: parts, mixes, archives and their images."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from clipsep import ClipsepError, SeparationOptions, Separator
from clipsep.files import atomic_write
from clipsep.finding import FindResult, find, scan
from clipsep.media import AudioReader, AudioWriter
from clipsep.separation.masking.confidence import QueryFeedback
from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import Job, Removed, TimeIsUp
from clipsep.serving.work.spectrograms import draw_spectrogram
from clipsep.serving.work.uploads import (
    AUDIO_UPLOAD,
    MIXTURE,
    Recording,
    decode_image,
    decode_recording,
)

Kind = Literal["mixture", "target", "residual"]
MUTED_DB = -60.0  # a gain of this or less leaves a part out
# The share of a job's time until the first block, for a bar that does not stand still.
_DECODED = 0.1
_MIX = "mix-"
_MOST_MIXES = 4  # of one job that are kept: enough for downloads in several formats
_rendering = threading.Lock()  # one file is made at a time, whoever wants it


@dataclass(frozen=True)
class SeparationRequest:
    """What a client wants from a recording.

    Attributes:
        stem: beginning of the names of downloads; never of a path on this machine.
        texts: queries.
        images: number of images, stored in the job's folder.
        binary: masks of 0 and 1.
        sensitivity: see `clipsep.SeparationOptions`.
    """

    stem: str
    texts: tuple[str, ...]
    images: int
    binary: bool = False
    sensitivity: float = 0.5


@dataclass(frozen=True)
class Part:
    """One file of a separation: the mixture, a target or the residual.

    Attributes:
        level: root mean square in dB of full scale; None for silence.
        energy_share: part of the mixture's energy.
        feedback: what is known of a target's query: ``familiarity``, ``nearest_known``, ``confidence``.
    """

    name: str
    kind: Kind
    path: Path
    level: float | None
    energy_share: float
    feedback: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Separation:
    """What a finished job holds: the mixture first, the residual last."""

    stem: str
    recording: Recording
    parts: tuple[Part, ...]

    def report(self, format: str) -> dict[str, Any]:
        """For report.json in an archive of a format."""
        return {
            "seconds": self.recording.seconds,
            "sample_rate": self.recording.sample_rate,
            "channels": self.recording.channels,
            "parts": [
                {
                    "name": part.name,
                    "kind": part.kind,
                    "level_dbfs": part.level,
                    "energy_share": part.energy_share,
                    "clipped_samples": 0 if format == "wav" else _beyond_full_scale(part.path),
                    **part.feedback,
                }
                for part in self.parts
            ],
        }

    def file_name(self, part: Part, format: str) -> str:
        """Name for the download of a part."""
        if part.kind == "mixture":
            return f"{self.stem}.{format}"
        return f"{self.stem}{part.path.name.removeprefix('mixture').removesuffix('wav')}{format}"


def separation_work(
    separator: Separator, request: SeparationRequest, limits: Limits
) -> Callable[[Job], Separation]:
    """Do the work of a job: decode what was sent, separate it, and leave WAV files in its folder."""

    def work(job: Job) -> Separation:
        recording, images, progress = _received(job, request, limits)
        with _private(job.folder):
            # Images first: their names are "image 1", "image 2", by their place among the queries.
            report = separator.separate_file(
                recording.path,
                [*images, *request.texts],
                job.folder,
                residual=True,
                binary=request.binary,
                sensitivity=request.sensitivity,
                format="wav",
                progress=progress,
            )
        assert report is not None and report.residual is not None
        tracks = list(report.targets.items())
        tracks = tracks[request.images :] + tracks[: request.images]
        parts = [Part("mixture", "mixture", recording.path, report.level, 1.0)]
        parts += [
            Part(
                name,
                "target",
                track.path,
                track.level,
                track.energy_share,
                _said(report.feedback_on(name)),
            )
            for name, track in tracks
        ]
        rest = report.residual
        parts.append(Part("residual", "residual", rest.path, rest.level, rest.energy_share))
        return Separation(request.stem, recording, tuple(parts))

    return work


def finding_work(
    separator: Separator, request: SeparationRequest, limits: Limits
) -> Callable[[Job], FindResult]:
    """Do the work of a job that only finds sounds; without queries, all that the model knows."""

    def work(job: Job) -> FindResult:
        recording, images, progress = _received(job, request, limits)
        options = SeparationOptions(sensitivity=request.sensitivity)
        with _private(job.folder):
            if not images and not request.texts:
                return scan(recording.path, separator=separator, options=options, progress=progress)
            found = find(
                recording.path,
                [*images, *request.texts],
                separator=separator,
                options=options,
                progress=progress,
            )
        sounds = found.sounds[request.images :] + found.sounds[: request.images]
        return replace(found, sounds=sounds)

    return work


def _received(
    job: Job, request: SeparationRequest, limits: Limits
) -> tuple[Recording, list[Image], Callable[[float, float | None], None]]:
    """Return the decoded uploads, and a function that records the progress of the work on them."""
    recording = decode_recording(job.folder, limits, job.check)
    images = [
        decode_image(job.folder, number, limits, job.check)
        for number in range(1, request.images + 1)
    ]
    job.progress = _DECODED

    def progress(done: float, _: float | None) -> None:
        job.progress = _DECODED + (1 - _DECODED) * min(1.0, done / recording.seconds)
        job.check()

    return recording, images, progress


@contextmanager
def _private(folder: Path) -> Iterator[None]:
    """Keep the folders of this machine out of the sentences that a client reads."""
    try:
        yield
    except TimeIsUp:
        raise
    except ClipsepError as error:
        sentence = str(error).replace(str(folder / MIXTURE), AUDIO_UPLOAD)
        raise type(error)(sentence.replace(f"{folder}{os.sep}", "")) from error


def _said(feedback: QueryFeedback) -> dict[str, Any]:
    said = feedback.as_dict()
    return {name: said[name] for name in ("familiarity", "nearest_known", "confidence")}


def part_file(part: Part, format: str) -> Path:
    """Return a part in a format; make it now if it does not exist yet.

    A format that ends at full scale limits what is louder: lowering one part would change the balance
    between the parts, and they would no longer add up to the recording.

    Raises:
        UsageError: if the format cannot hold it.
    """
    if format == "wav":
        return part.path
    return _made(
        part.path.with_suffix(f".{format}"), lambda path: _mix([part.path], [1.0], path, format)
    )


def mix_file(separation: Separation, gains_db: Sequence[float], format: str) -> Path:
    """Mix the targets and the residual, each at a gain in dB, to one file; raises as `part_file`.

    If the mix is louder than the format can hold, all of it is lowered: it is the gains that make it
    so loud, and a mix should not be distorted.
    """
    sources = [part.path for part in separation.parts if part.kind != "mixture"]
    factors = [0.0 if gain <= MUTED_DB else 10 ** (gain / 20) for gain in gains_db]
    name = hashlib.sha256(repr([*map(float, gains_db)]).encode()).hexdigest()[:16]
    folder = separation.recording.path.parent
    target = folder / f"{_MIX}{name}.{format}"

    def make(path: Path) -> None:
        _remove_old_mixes(folder)
        peak = 1.0 if format == "wav" else _peak(sources, factors)
        lowered = [factor / max(1.0, peak) for factor in factors]
        _mix(sources, lowered, path, format)

    return _made(target, make)


def _remove_old_mixes(folder: Path) -> None:
    """Make room for one more: there are endless combinations of gains, each as large as the recording."""
    mixes = list(folder.glob(f"{_MIX}*"))
    mixes.sort(key=lambda path: path.stat().st_mtime)
    for path in mixes[: max(0, len(mixes) - _MOST_MIXES + 1)]:
        with suppress(OSError):  # Windows keeps a file that is being sent
            path.unlink()


def spectrogram_file(separation: Separation, part: Part) -> Path:
    """Draw a part, in the same colours for the same levels as its mixture's."""

    def draw(path: Path) -> None:
        mixture_top = separation.parts[0].level
        # Tones stand out of a recording's mean level by about this much.
        top = None if mixture_top is None else mixture_top + 10.0
        draw_spectrogram(part.path, top, path)

    return _made(part.path.with_suffix(".png"), draw)


def archive_file(separation: Separation, format: str, residual: bool) -> Path:
    """Zip the targets, with the residual if wanted, and report.json; raises as `part_file`."""
    kinds = ("target", "residual") if residual else ("target",)
    parts = [part for part in separation.parts if part.kind in kinds]
    files = {separation.file_name(part, format): part_file(part, format) for part in parts}

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                archive.write(file, name)
            archive.writestr("report.json", json.dumps(separation.report(format), indent=2))

    tag = "all" if residual else "targets"
    return _made(separation.recording.path.parent / f"{tag}.{format}.zip", write)


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, made first if it is missing; never seen half made.

    Raises:
        Removed: if its folder went meanwhile.
    """
    try:
        with _rendering:
            if not path.exists():
                with _private(path.parent), atomic_write(path) as temporary:
                    make(temporary)
    except (OSError, ClipsepError) as error:
        with suppress(OSError):
            path.parent.rmdir()  # works if it is empty: writers make their folder anew
        if path.parent.exists():
            raise
        raise Removed("The job was removed meanwhile.") from error
    return path


def _mix(sources: Sequence[Path], factors: Sequence[float], target: Path, format: str) -> None:
    """Write the weighted sum of WAV files of the same length."""
    with AudioReader(sources[0]) as reader:
        info = reader.info
    with AudioWriter(
        target,
        info.sample_rate,
        info.channels,
        layout=info.layout,
        format=format,
        expected_seconds=info.seconds,
    ) as writer:
        for block in _sums(sources, factors):
            writer.write(block)


def _sums(sources: Sequence[Path], factors: Sequence[float]) -> Iterator[np.ndarray]:
    """Blocks [C, n] of the weighted sum of WAV files of the same length."""
    with ExitStack() as stack:
        readers = [stack.enter_context(AudioReader(source)) for source in sources]
        for blocks in zip(*readers, strict=True):
            weighted = (block * factor for block, factor in zip(blocks, factors, strict=True))
            yield sum(weighted, np.zeros_like(blocks[0])).astype(np.float32)


def _peak(sources: Sequence[Path], factors: Sequence[float]) -> float:
    return max((float(np.abs(block).max()) for block in _sums(sources, factors)), default=0.0)


def _beyond_full_scale(path: Path) -> int:
    """How many samples of a WAV file no other format can hold."""
    return sum(int(np.count_nonzero(np.abs(block) > 1)) for block in _sums([path], [1.0]))
