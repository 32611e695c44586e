"""The queries of test mixtures as embeddings: texts, pictures, and sounds that are not there.

What is separated by them, and how it is scored, is none of its business.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import Mixture, load_pictures
from clipsep.feedback import TEXT
from clipsep.queries import QueryEncoder
from clipsep.queries.known import KnownSounds
from clipsep.queries.parsing import PICTURE_SUFFIXES, named_queries
from clipsep.queries.prompts import encode_prompted


class MixtureQueries:
    """Embeds the queries of mixtures, each text and the pictures of each mixture once and by itself.

    So an embedding depends on nothing but its query, whatever else is evaluated.

    Args:
        prompts: the prompt set that texts go through.
        images: a folder of pictures with one folder per label, see `random_picture`; None for the
            pictures that the mixtures name.
        known: of the model, which queries are drawn towards; None leaves them as they are.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        prompts: str,
        images: Path | None,
        known: KnownSounds | None = None,
    ):
        self._encoder, self._prompts, self._images = encoder, prompts, images
        self._known = known
        self._embeddings: dict[tuple[str, str], np.ndarray] = {}

    def embed(self, kind: str, mixture: Mixture) -> np.ndarray:
        """The embedding [D] of a mixture's text or, as the mean over its pictures, of its image query.

        Raises:
            UsageError, ClipsepError: for a query that the encoder cannot take, or a missing picture.
        """
        key = (kind, mixture.query if kind == TEXT else mixture.id)
        if key not in self._embeddings:
            embedding = self._text(mixture.query) if kind == TEXT else self._pictures(mixture)
            embedding = np.asarray(embedding, np.float32)
            if self._known is not None:
                embedding = self._known.draw(embedding[None], kind)[0]
            self._embeddings[key] = embedding
        return self._embeddings[key]

    def pictures(self, mixture: Mixture) -> list[Image.Image]:
        """The pictures of a mixture's image query."""
        if self._images is None:
            return load_pictures(mixture)
        return list(named_queries([random_picture(mixture, self._images)]).values())

    def _text(self, query: str) -> np.ndarray:
        return encode_prompted(self._encoder, [query], self._prompts)[0]

    def _pictures(self, mixture: Mixture) -> np.ndarray:
        return self._encoder.encode_images(self.pictures(mixture)).mean(axis=0)


def random_picture(mixture: Mixture, images: Path) -> Path:
    """One picture of the target's class, the same in every run.

    Args:
        images: with a folder for each label, spaces as underscores.

    Raises:
        UsageError: if there is none.
    """
    folder = images / class_of(mixture).replace(" ", "_")
    pictures = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise UsageError(
            f"--images: there are no pictures in '{folder}', where those of '{class_of(mixture)}' belong."
        )
    return random.Random(mixture.id).choice(pictures)


def absent_sounds(mixtures: Sequence[Mixture]) -> dict[str, Mixture]:
    """By a mixture's id, another one whose target is not in it, so that its query asks for nothing.

    The choice depends on the labels of the list and the mixture's id only. A mixture whose labels are not
    all known, or cover the whole list, has none.
    """
    by_label: dict[str, list[Mixture]] = {}
    for mixture in mixtures:
        if mixture.label:
            by_label.setdefault(mixture.label, []).append(mixture)
    chosen = {}
    for mixture in mixtures:
        present = {mixture.label, *(interferer.label for interferer in mixture.interferers)}
        absent = sorted(by_label.keys() - present)
        if absent and None not in present:
            draw = random.Random(mixture.id)
            label = draw.choice(absent)
            chosen[mixture.id] = draw.choice(by_label[label])
    return chosen


def class_of(mixture: Mixture) -> str:
    """The class under which a mixture is reported: its label, or its query if it has none."""
    return mixture.label or mixture.query
