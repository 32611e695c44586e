"""The mixing rules of public test lists: how files become the sources of one mixture.

Lists are read in lists/; the package's own rule and the paper's are in mixtures.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from clipsep.errors import ClipsepError
from clipsep.media import read_audio

_TOLERANCE = 0.01  # seconds by which a mixture and its reference may differ in length
_DECLIPPED = 0.9  # peak of mixtures that would clip


class Recipe(Protocol):
    """How a mixture of any length is made, at ``sample_rate`` in Hz."""

    @property
    def sample_rate(self) -> int: ...

    def sources(self, paths: Sequence[Path]) -> np.ndarray:
        """Load the target and what it is mixed with, float32 [N, T]; the mixture is their sum.

        Raises:
            ClipsepError: if a file cannot be read or does not fit the others.
        """
        ...


@dataclass(frozen=True)
class GivenMixture:
    """The list names a file with the mixture and one with the reference; the rest is their difference.

    Attributes:
        mixture: the file.
    """

    mixture: Path
    sample_rate: int

    def sources(self, paths: Sequence[Path]) -> np.ndarray:
        """See `Recipe`; of ``paths`` only the reference is read."""
        reference, mixture = (_read(path, self.sample_rate) for path in (paths[0], self.mixture))
        samples = min(len(reference), len(mixture))
        if abs(len(reference) - len(mixture)) > _TOLERANCE * self.sample_rate:
            raise ClipsepError(
                f"'{self.mixture}' and its reference '{paths[0]}' differ in length by "
                f"{abs(len(reference) - len(mixture)) / self.sample_rate:.2f} s."
            )
        reference, mixture = reference[:samples], mixture[:samples]
        return np.stack([reference, mixture - reference])


@dataclass(frozen=True)
class AtSnr:
    """The target as it is, the interferer at a ratio of energies below it; scaled down if it clips.

    As the DCASE 2024 task 9 baseline and CLAPSep mix: a mixture that passes 1 is brought to a peak of 0.9,
    and its sources with it. Several interferers are each brought to the ratio.

    Attributes:
        snr_db: energy of the target over that of each interferer.
        seconds: cut or zero-pad every sound to this length first; None pads to the longest.
    """

    sample_rate: int
    snr_db: float
    seconds: float | None = None

    def sources(self, paths: Sequence[Path]) -> np.ndarray:
        """See `Recipe`."""
        sounds = [_read(path, self.sample_rate) for path in paths]
        samples = max(map(len, sounds))
        if self.seconds is not None:
            samples = round(self.seconds * self.sample_rate)
        sources = np.stack([_fit(sound, samples) for sound in sounds])
        energy = np.sum(np.square(sources, dtype=np.float64), axis=1)
        if not energy.all():
            raise ClipsepError(
                f"'{paths[int(np.argmin(energy))]}' is silent: it has no level to mix at."
            )
        gains = np.sqrt(energy[0] / energy * 10 ** (-self.snr_db / 10))
        gains[0] = 1
        sources = sources * gains[:, None]
        peak = np.abs(sources.sum(axis=0)).max()
        return (sources * (_DECLIPPED / peak if peak > 1 else 1)).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """What a weighted mixture takes of one file: seconds of it, then seconds of that, then a gain."""

    chunk: tuple[float, float]
    crop: tuple[float, float]
    weight: float


@dataclass(frozen=True)
class Weighted:
    """Stated pieces with stated weights, as Hive's metadata give them.

    Hive scales the mixture by ``factor`` and leaves the sources as they are, so that they do not add up;
    here the sources are scaled too, and scores are those of a reference at the mixture's level.

    Attributes:
        parts: one for each file, in the order of the sources.
        seconds: length of the mixture; shorter pieces are padded with zeros.
    """

    sample_rate: int
    seconds: float
    parts: tuple[Part, ...]
    factor: float = 1.0

    def sources(self, paths: Sequence[Path]) -> np.ndarray:
        """See `Recipe`."""
        samples = int(self.seconds * self.sample_rate)
        rows = [
            _fit(self._piece(path, part), samples) * np.float32(part.weight * self.factor)
            for path, part in zip(paths, self.parts, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    def _piece(self, path: Path, part: Part) -> np.ndarray:
        sound = _read(path, self.sample_rate)
        low, high = (int(second * self.sample_rate) for second in part.chunk)
        start, end = (int(second * self.sample_rate) for second in part.crop)
        return sound[low:high][start:end]


def _read(path: Path, sample_rate: int) -> np.ndarray:
    """Average all channels: [T]."""
    return read_audio(path, sample_rate, mono=True)[0]


def _fit(sound: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-padded at its end."""
    return np.pad(sound[:samples], (0, max(0, samples - len(sound))))
