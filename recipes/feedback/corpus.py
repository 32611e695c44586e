"""What feedback is measured with: labels, wordings and images of a corpus, and their embeddings.

It must not know which model is measured.
"""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clipsep.evaluation.mixtures import Mixture
from clipsep.media.images import open_image
from clipsep.queries import QueryEncoder
from clipsep.queries.prompts import encode_prompted

TRAIN, TEST = "train", "test"
NAMES = "name"  # of wordings that are not learnt, but compared with: names in other languages
_PROBES = [
    "rain",
    "a dog is barking in the distance",
]  # by whose embeddings an encoder is known again


class Corpus:
    """A folder as recipes/mini/README.md describes it, with similar.csv.

    Args:
        wordings: CSV file with the columns label, split (train or test) and wording; None for none.
    """

    def __init__(self, folder: Path, wordings: Path | None):
        self.folder = folder
        self._groups: dict[str, set[str]] = {}
        for row in _rows(folder / "similar.csv"):
            self._groups.setdefault(row["label"], set()).add(row["group"])
        self._wordings: dict[tuple[str, str], list[str]] = {}
        for row in _rows(wordings) if wordings else []:
            self._wordings.setdefault((row["label"], row["split"]), []).append(row["wording"])

    def trained_labels(self) -> list[str]:
        """Labels with recordings that may be learnt into weights."""
        rows = _rows(self.folder / "manifest.csv")
        return sorted(
            {
                row["label"]
                for row in rows
                if (row["kind"], row["split"], row.get("use", "free")) == ("audio", TRAIN, "free")
            }
        )

    @property
    def labels(self) -> list[str]:
        """All of the recordings."""
        rows = _rows(self.folder / "manifest.csv")
        return sorted({row["label"] for row in rows if row["kind"] == "audio"})

    def alike(self, first: str, second: str) -> bool:
        """Whether two labels sound or are named alike, so that one is not absent where the other is."""
        groups = self._groups.get(first, set()) & self._groups.get(second, set())
        return first == second or bool(groups)

    def wordings(self, label: str, split: str) -> list[str]:
        """Other ways to ask for a label, in the order of the file."""
        return self._wordings.get((label, split), [])

    def images(self, label: str, split: str) -> list[Path]:
        """Images of a label, sorted."""
        folder = self.folder / "images" / split / label.replace(" ", "_")
        return sorted(folder.glob("*.jpg"))

    def some_images(self, label: str, split: str, count: int) -> list[Path]:
        """At most ``count`` images of a label, the same in every run."""
        found = self.images(label, split)
        return random.Random(label).sample(found, min(count, len(found)))

    def absent_labels(self, mixture: Mixture, labels: Sequence[str], count: int) -> list[str]:
        """At most ``count`` labels that are not in a mixture, nor alike to what is; always the same."""
        present = [mixture.label, *(one.label for one in mixture.interferers)]
        absent = [
            label for label in labels if not any(self.alike(label, other) for other in present)
        ]
        return random.Random(mixture.id).sample(absent, min(count, len(absent)))


class Embeddings:
    """Embeddings of texts and images by one encoder, each computed once and kept in a file.

    Args:
        file: .npz file that keeps them for the next run; of another encoder, it starts again.
    """

    def __init__(self, encoder: QueryEncoder, prompts: str, file: Path):
        self._encoder, self._prompts, self._file = encoder, prompts, file
        probe = np.asarray(encode_prompted(encoder, _PROBES, prompts))
        self._space = hashlib.sha256(np.round(probe, 3).tobytes()).hexdigest()
        self._rows: dict[str, np.ndarray] = {}
        if file.is_file():
            with np.load(file) as kept:
                if str(kept["space"]) == self._space:
                    self._rows = dict(zip(kept["names"].tolist(), kept["vectors"], strict=True))

    def texts(self, texts: Iterable[str]) -> np.ndarray:
        """[N, D], a text by itself as users' are."""
        return self._of(texts, lambda text: encode_prompted(self._encoder, [text], self._prompts))

    def images(self, paths: Iterable[Path]) -> np.ndarray:
        """[N, D]."""
        return self._of(
            [str(path) for path in paths],
            lambda path: self._encoder.encode_images([open_image(Path(path)).convert("RGB")]),
        )

    def save(self) -> None:
        """Keep what was computed."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        names, vectors = np.array(list(self._rows)), np.stack(list(self._rows.values()))
        np.savez(self._file, space=self._space, names=names, vectors=vectors)

    def _of(self, names: Iterable[str], embed) -> np.ndarray:
        names = list(names)
        for name in names:
            if name not in self._rows:
                self._rows[name] = np.asarray(embed(name)[0], np.float32)
        return np.stack([self._rows[name] for name in names])


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
