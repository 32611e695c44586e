"""The sounds that a model was trained with, and how a query compares with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from clipsep.checkpoint import KNOWN_NAME, CheckpointConfig
from clipsep.errors import ClipsepError
from clipsep.feedback import IMAGE, TEXT, Kind, KnownSettings, Level, Thresholds
from clipsep.files import write_whole

_KINDS = (TEXT, IMAGE)
_NEAREST = 3  # known sounds that are named


@dataclass(frozen=True)
class Familiarity:
    """How a query compares with what a model was trained on.

    Attributes:
        level: known, near or unknown.
        similarity: cosine with the nearest embedding that was learnt.
        nearest: labels of the nearest known sounds, the nearest first.
        score: 0 at the threshold of near, 1 at that of known, limited to [-1, 2]; comparable between
            texts and images.
    """

    level: Level
    similarity: float
    nearest: tuple[str, ...]
    score: float


class KnownSounds:
    """Embeddings that a model learnt, by the sound and by what was embedded: a text or images.

    Args:
        labels: L names of sounds.
        vectors: [M, D], M >= L; the first L are the texts of the labels, in their order.
        owners: [M], whose vector each is: a row of ``labels``.
        kinds: [M], 0 for a text, 1 for the mean of a sound's images.
        settings: see there.

    Raises:
        ValueError: if shapes or numbers do not fit together.
    """

    def __init__(
        self,
        labels: Sequence[str],
        vectors: np.ndarray,
        owners: np.ndarray,
        kinds: np.ndarray,
        settings: KnownSettings,
    ):
        n = len(labels)
        fits = vectors.ndim == 2 and len(vectors) == len(owners) == len(kinds) >= n > 0
        if not (fits and np.array_equal(owners[:n], np.arange(n)) and not kinds[:n].any()):
            raise ValueError("the table does not begin with the texts of the labels")
        if not (owners.min() >= 0 and owners.max() < n and np.isin(kinds, (0, 1)).all()):
            raise ValueError("the table names sounds that are not there")
        self.labels, self.settings = list(labels), settings
        vectors = _unit(vectors.astype(np.float32))
        self._targets = vectors[:n]
        self._tables = {
            kind: _Table.of(vectors, owners, kinds == number, n)
            for number, kind in enumerate(_KINDS)
        }

    @classmethod
    def load(cls, folder: Path, config: CheckpointConfig) -> KnownSounds | None:
        """Load the table of a checkpoint; None if it has none.

        Raises:
            ClipsepError: if the file is missing or damaged.
        """
        if config.known is None:
            return None
        path = folder / KNOWN_NAME
        try:
            return cls(config.known_sounds, *_read_table(path), config.known)
        except ValueError as error:
            raise _damaged(path) from error

    def compare(self, query: np.ndarray, kind: Kind) -> Familiarity:
        """How one query's embedding [D], a ``text`` or an ``image``, compares with what was learnt."""
        return self.compare_each(query[None], kind)[0]

    def compare_each(self, queries: np.ndarray, kind: Kind) -> list[Familiarity]:
        """As `compare`, of embeddings [N, D]; much faster than one after the other."""
        return [self._familiarity(row, kind) for row in self.similarities(queries, kind)]

    def _familiarity(self, similarity: np.ndarray, kind: Kind) -> Familiarity:
        order = np.argsort(-similarity, kind="stable")[:_NEAREST]
        best = float(similarity[order[0]])
        thresholds = self.settings.thresholds[kind]
        return Familiarity(
            level_of(best, thresholds),
            best,
            tuple(self.labels[row] for row in order),
            score_of(best, thresholds),
        )

    def draw(self, queries: np.ndarray, kind: Kind) -> np.ndarray:
        """Draw queries [N, D] towards the labels that they resemble, each as long as it was.

        (1 - share) of the query's direction plus share of the mean of the labels' texts, weighted by a
        softmax over the cosines with the nearest embedding of each label.
        """
        drawing = self.settings.drawing.get(kind)
        if drawing is None or not drawing.share:
            return queries
        weights = _softmax(self.similarities(queries, kind) / drawing.temperature)
        drawn = (1 - drawing.share) * _unit(queries) + drawing.share * weights @ self._targets
        drawn = _unit(drawn)
        return (drawn * np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)

    def similarities(self, queries: np.ndarray, kind: Kind) -> np.ndarray:
        """Cosines [N, L] of queries [N, D] with the nearest embedding of each label."""
        return self._tables[kind].similarities(_unit(queries))


@dataclass(frozen=True)
class _Table:
    """Unit vectors [M, D] sorted by their owners, whose groups begin at ``starts`` [L]."""

    vectors: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, owners: np.ndarray, chosen: np.ndarray, n: int) -> _Table:
        """Of the chosen rows; a label without one is represented by its text."""
        chosen = chosen.copy()
        chosen[:n] |= ~np.isin(np.arange(n), owners[chosen])
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(owners[rows], kind="stable")]
        return cls(vectors[rows], np.searchsorted(owners[rows], np.arange(n)))

    def similarities(self, queries: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(queries @ self.vectors.T, self.starts, axis=1)


def save_known_sounds(
    folder: Path, vectors: np.ndarray, owners: np.ndarray, kinds: np.ndarray
) -> None:
    """Write the table of a checkpoint, in half precision; arguments as of `KnownSounds`."""
    tensors: dict[str, np.ndarray] = {
        "vectors": vectors.astype(np.float16),
        "owners": owners.astype(np.int32),
        "kinds": kinds.astype(np.int8),
    }
    write_whole(folder / KNOWN_NAME, safetensors.numpy.save(tensors))


def copy_known_sounds(
    source: Path, folder: Path, text: np.ndarray | None = None, image: np.ndarray | None = None
) -> None:
    """Copy the table of a checkpoint to another one, with one more sound behind the others.

    Args:
        text: the embedding of the sound's name, [1, D]; None adds nothing.
        image: that of an image of it, [1, D].

    Raises:
        ClipsepError: if the table cannot be read.
    """
    vectors, owners, kinds = _read_table(source / KNOWN_NAME)
    if text is not None:
        n = int(owners.max()) + 1
        added = [text] if image is None else [text, image]
        vectors = np.concatenate([vectors[:n], text, vectors[n:], *added[1:]])
        owners = np.concatenate([owners[:n], [n], owners[n:], [n] * (len(added) - 1)])
        kinds = np.concatenate([kinds[:n], [0], kinds[n:], [1] * (len(added) - 1)])
    save_known_sounds(folder, vectors, owners, kinds)


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read vectors, owners and kinds, see `KnownSounds`; ClipsepError if they cannot be read."""
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        return tensors["vectors"], tensors["owners"], tensors["kinds"]
    except OSError as error:
        raise ClipsepError(f"Cannot read '{path}': {error.strerror}.") from error
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ClipsepError:
    return ClipsepError(
        f"'{path}' is damaged or belongs to another config.json: fetch or install the model again."
    )


def level_of(similarity: float, thresholds: Thresholds) -> Level:
    """Return the level of a query whose nearest learnt embedding is so similar."""
    if similarity >= thresholds.known:
        return "known"
    return "near" if similarity >= thresholds.near else "unknown"


def score_of(similarity: float, thresholds: Thresholds) -> float:
    """See `Familiarity.score`."""
    width = max(thresholds.known - thresholds.near, 1e-6)
    return float(np.clip((similarity - thresholds.near) / width, -1, 2))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
