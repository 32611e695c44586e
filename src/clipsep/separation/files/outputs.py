"""The files that a separation writes: one per query, complete or not there, and what they hold."""

from __future__ import annotations

import hashlib
import math
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import UsageError
from clipsep.files import not_written, replace_all, unfinished
from clipsep.media import AudioStreamInfo, AudioWriter, Tags, video_format
from clipsep.queries.parsing import RESIDUAL
from clipsep.separation.files.figure import SpectrogramFigure
from clipsep.separation.masking.confidence import QueryFeedback
from clipsep.separation.options import SeparationOptions

_PART_BYTES = 100  # of a file's name: two parts, and at most 255 bytes on most file systems


@dataclass
class TrackReport:
    """What a written track holds.

    Attributes:
        level: root mean square in dB below full scale; None for digital silence.
        energy_share: part of the mixture's energy, 0 to 1 (a little more if parts cancel each other).
        clipped: samples that the file format could not hold and that were limited to full scale.
        sample_rate: rate of the file, in Hz: the recording's own, unless the format does not have that.
    """

    path: Path
    level: float | None
    energy_share: float
    clipped: int
    sample_rate: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the level in dB of full scale (null for silence), the share from 0 to 1."""
        return {
            "file": str(self.path),
            "level_dbfs": self.level,
            "energy_share": self.energy_share,
            "clipped_samples": self.clipped,
            "sample_rate": self.sample_rate,
        }


@dataclass
class FileReport:
    """What `Separator.separate_file` wrote: one track per query, and the residual if the options say so.

    ``feedback`` says of each query whether the model knows such a sound and whether it is there.
    """

    source: Path
    sample_rate: int
    channels: int
    seconds: float
    level: float | None
    targets: dict[str, TrackReport]
    residual: TrackReport | None = None
    figure: Path | None = None
    feedback: dict[str, QueryFeedback] = field(default_factory=dict)

    @property
    def tracks(self) -> list[TrackReport]:
        """The targets, and the residual if there is one."""
        return [*self.targets.values(), *([self.residual] if self.residual else [])]

    def feedback_on(self, query: str) -> QueryFeedback:
        """Empty where there is none."""
        return self.feedback.get(query, QueryFeedback())

    def as_dict(self) -> dict[str, Any]:
        """For JSON; levels as those of the tracks."""
        return {
            "input": str(self.source),
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "seconds": self.seconds,
            "level_dbfs": self.level,
            "targets": [
                {"query": name, **track.as_dict(), **self.feedback_on(name).as_dict()}
                for name, track in self.targets.items()
            ],
            # Where targets are made of several queries, or of what is left.
            "queries": [
                {"query": name, **feedback.as_dict()}
                for name, feedback in self.feedback.items()
                if name not in self.targets
            ],
            "residual": self.residual.as_dict() if self.residual else None,
            "figure": str(self.figure) if self.figure else None,
        }


@dataclass
class _Track:
    """One file being written and its running energy."""

    writer: AudioWriter
    path: Path
    energy: float = 0.0

    def write(self, block: np.ndarray) -> None:
        self.energy += _energy(block)
        self.writer.write(block)


class SeparationFiles:
    """The files of one separation, which get their names together when all of them are complete.

    After an error none of them is there, and older files of their names are untouched, as far as
    `clipsep.files.replace_all` can promise that.

    Args:
        info: what is known of the recording, or of the part of it that is separated.
        names: those of the targets.
        tags: what each of the files is tagged with.

    Raises:
        UsageError: if videos are wanted of a recording without frames, or a name is taken twice.
    """

    def __init__(
        self,
        info: AudioStreamInfo,
        folder: Path,
        names: list[str],
        options: SeparationOptions,
        tags: Tags | None = None,
    ):
        if options.video and not info.has_video:
            raise UsageError(f"{info.path} has no frames: leave out --video.")
        self._info = info
        self._folder = folder
        self._options = options
        self._tags = tags
        self._energy = 0.0
        self._samples = 0
        self._paths, self._figure_path = output_paths(info.path, folder, names, options)
        self._tracks: dict[str, _Track] = {}
        self._figure = SpectrogramFigure(info.sample_rate, info.seconds) if options.plot else None

    def __enter__(self) -> SeparationFiles:
        with ExitStack() as stack:
            if not self._folder.exists():
                stack.push(self._remove_empty_folder)
            for name, path in self._paths.items():
                writer = self._open(path)
                stack.callback(writer.discard)  # leaves a file that has its name alone
                self._tracks[name] = _Track(writer, path)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is not None:
            self._stack.__exit__(*exception)
            return
        with self._stack as stack:
            figure = []
            if self._figure and self._figure_path:
                drawn = unfinished(self._figure_path)
                stack.callback(drawn.unlink, missing_ok=True)
                _write_figure(self._figure, drawn, self._figure_path)
                figure = [(drawn, self._figure_path)]
            tracks = [(track.writer.finish(), track.path) for track in self._tracks.values()]
            replace_all([*figure, *tracks])

    @property
    def seconds(self) -> float:
        return self._samples / self._info.sample_rate

    def write(self, targets: dict[str, np.ndarray], residual: np.ndarray) -> None:
        """Append blocks [C, n] of every part."""
        parts = {**targets, RESIDUAL: residual}
        mixture = np.sum(list(parts.values()), axis=0)
        self._energy += _energy(mixture)
        self._samples += mixture.shape[-1]
        for name, track in self._tracks.items():
            track.write(parts[name])
        if self._figure:
            self._figure.add({"mixture": mixture, **parts})

    def report(self, feedback: dict[str, QueryFeedback] | None = None) -> FileReport:
        tracks = {
            name: TrackReport(
                track.path,
                self._level(track.energy),
                track.energy / self._energy if self._energy else 0.0,
                track.writer.clipped,
                track.writer.sample_rate,
            )
            for name, track in self._tracks.items()
        }
        residual = tracks.pop(RESIDUAL, None)
        return FileReport(
            source=self._info.path,
            sample_rate=self._info.sample_rate,
            channels=self._info.channels,
            seconds=self.seconds,
            level=self._level(self._energy),
            targets=tracks,
            residual=residual,
            figure=self._figure_path,
            feedback=feedback or {},
        )

    def _open(self, path: Path) -> AudioWriter:
        options, video = self._options, self._options.video
        return AudioWriter(
            path,
            self._info.sample_rate,
            self._info.channels,
            layout=self._info.layout,
            format=path.suffix[1:] if video else options.format,
            expected_seconds=self._info.seconds,
            bit_depth=options.bit_depth,
            bit_rate=options.bit_rate,
            tags=self._tags,
            video=self._info if video else None,
        )

    def _remove_empty_folder(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self._folder.rmdir()

    def _level(self, energy: float) -> float | None:
        mean = energy / (self._samples * self._info.channels)
        return 10 * math.log10(mean) if mean > 0 else None


def output_paths(
    recording: Path | str, folder: Path, names: list[str], options: SeparationOptions
) -> tuple[dict[str, Path], Path | None]:
    """Where the tracks of a recording go, by query, and where its figure goes, if there is one.

    Args:
        recording: its file, or the stem of the names if there is no such file.

    Raises:
        UsageError: if the file name of the options gives several tracks the same name, or a track that of
            the recording.
    """
    path = recording if isinstance(recording, Path) else None
    stem = _short_stem(path.stem if path else str(recording))
    extension = video_format(path) if path and options.video else options.format
    names = [*names, *[RESIDUAL] * options.residual]
    tracks = _track_paths(folder, stem, names, extension, options.filename)
    if path and path.absolute() in (track.absolute() for track in tracks.values()):
        raise UsageError(f"'{recording}' would be written over: choose another output folder.")
    if not options.plot:
        return tracks, None
    return tracks, folder / options.filename.format(stem=stem, query="spectrogram", ext="png")


def written(recording: Path, folder: Path, names: list[str], options: SeparationOptions) -> bool:
    """Whether all files of a recording are there."""
    tracks, figure = output_paths(recording, folder, names, options)
    return all(path.is_file() for path in [*tracks.values(), *([figure] if figure else [])])


def _write_figure(figure: SpectrogramFigure, drawn: Path, path: Path) -> None:
    content = figure.png()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.write_bytes(content)
    except OSError as error:
        raise not_written(path, error) from error


def _energy(block: np.ndarray) -> float:
    return float(np.sum(np.square(block, dtype=np.float64)))


def _track_paths(
    folder: Path, stem: str, names: list[str], extension: str, template: str
) -> dict[str, Path]:
    """Make a distinct file for each name; characters that file systems dislike become hyphens."""
    paths: dict[str, Path] = {}
    for name in names:
        slug = re.sub(r"[^\w.-]+", "-", name).strip("-.").lower()
        slug = _shorten(slug, _PART_BYTES) or "query"
        place, number = slug, 2
        path = folder / template.format(stem=stem, query=place, ext=extension)
        while path in paths.values():
            if "{query}" not in template:
                raise UsageError(
                    f"The file name '{template}' is the same for all {len(names)} tracks: add {{query}}."
                )
            place, number = f"{slug}-{number}", number + 1
            path = folder / template.format(stem=stem, query=place, ext=extension)
        paths[name] = path
    return paths


def _short_stem(stem: str) -> str:
    """Cut a stem that is too long, in such a way that those which begin alike stay different."""
    content = stem.encode(errors="surrogateescape")
    if len(content) <= _PART_BYTES:
        return stem
    return f"{_shorten(stem, _PART_BYTES - 7)}-{hashlib.sha256(content).hexdigest()[:6]}"


def _shorten(text: str, n_bytes: int) -> str:
    """Cut ``text`` to as many bytes as there is room for."""
    return text.encode(errors="surrogateescape")[:n_bytes].decode(errors="ignore")
