"""The files that a separation writes: one per query, complete or not there, and what they hold."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.media import AudioStreamInfo, AudioWriter
from clipsep.queries.parsing import RESIDUAL
from clipsep.separation.confidence import QueryFeedback
from clipsep.separation.figure import SpectrogramFigure


@dataclass
class TrackReport:
    """What a written track holds.

    Attributes:
        level: root mean square in dB below full scale; None for digital silence.
        energy_share: of the mixture's energy, 0 to 1 (a little more if parts cancel each other).
        clipped: samples that the file format could not hold and that were limited to full scale.
    """

    path: Path
    level: float | None
    energy_share: float
    clipped: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the level in dB of full scale (null for silence), the share from 0 to 1."""
        return {
            "file": str(self.path),
            "level_dbfs": self.level,
            "energy_share": self.energy_share,
            "clipped_samples": self.clipped,
        }


@dataclass
class FileReport:
    """What `Separator.separate_file` wrote: one track per query, and the residual if asked for.

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
    """The files of one separation: all of them complete, or none of them there."""

    def __init__(
        self,
        info: AudioStreamInfo,
        folder: Path,
        names: list[str],
        residual: bool,
        format: str,
        plot: bool,
    ):
        self._info = info
        self._folder = folder
        self._format = format
        self._energy = 0.0
        self._samples = 0
        self._paths, self._figure_path = output_paths(
            info.path, folder, names, residual, format, plot
        )
        self._tracks: dict[str, _Track] = {}
        self._figure = SpectrogramFigure(info.sample_rate, info.seconds) if plot else None

    def __enter__(self) -> SeparationFiles:
        with ExitStack() as stack:
            if not self._folder.exists():
                stack.push(self._remove_empty_folder)
            for name, path in self._paths.items():
                writer = stack.enter_context(self._open(path))
                self._tracks[name] = _Track(writer, path)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._figure and exception[0] is None:
            # Inside the stack, so that a figure that fails takes the tracks with it.
            with self._stack:
                self._figure.save(self._figure_path)
        else:
            self._stack.__exit__(*exception)

    @property
    def seconds(self) -> float:
        return self._samples / self._info.sample_rate

    def write(self, targets: dict[str, np.ndarray], residual: np.ndarray) -> None:
        """Append blocks [C, n] of every part."""
        parts = {**targets, RESIDUAL: residual}
        mixture = sum(parts.values())
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
        return AudioWriter(
            path,
            self._info.sample_rate,
            self._info.channels,
            layout=self._info.layout,
            format=self._format,
            expected_seconds=self._info.seconds,
        )

    def _remove_empty_folder(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self._folder.rmdir()

    def _level(self, energy: float) -> float | None:
        mean = energy / (self._samples * self._info.channels)
        return 10 * math.log10(mean) if mean > 0 else None


def output_paths(
    recording: Path, folder: Path, names: list[str], residual: bool, format: str, plot: bool
) -> tuple[dict[str, Path], Path | None]:
    """Where the tracks of a recording go, by query, and where its figure goes, if there is one."""
    stem = _shorten(recording.stem, 100)
    tracks = _track_paths(folder, stem, [*names, *[RESIDUAL] * residual], format)
    return tracks, folder / f"{stem}.spectrogram.png" if plot else None


def _energy(block: np.ndarray) -> float:
    return float(np.sum(np.square(block, dtype=np.float64)))


def _track_paths(folder: Path, stem: str, names: list[str], format: str) -> dict[str, Path]:
    """A distinct file per name; characters that file systems dislike become hyphens."""
    paths: dict[str, Path] = {}
    for name in names:
        slug = _shorten(re.sub(r"[^\w.-]+", "-", name).strip("-.").lower(), 100) or "query"
        path, number = folder / f"{stem}.{slug}.{format}", 2
        while path in paths.values():
            path, number = folder / f"{stem}.{slug}-{number}.{format}", number + 1
        paths[name] = path
    return paths


def _shorten(text: str, n_bytes: int) -> str:
    """The start of ``text`` that fits: names of files are limited in bytes, and have two parts here."""
    return text.encode(errors="surrogateescape")[:n_bytes].decode(errors="ignore")
