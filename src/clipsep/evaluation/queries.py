"""The queries of test mixtures as embeddings: texts, images, audio, and sounds that are not there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import Mixture, load_frames, load_sources
from clipsep.feedback import IMAGE, TEXT
from clipsep.media.images import open_image
from clipsep.queries import QueryEncoder, reads_audio
from clipsep.queries.known import KnownSounds
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.parsing import IMAGE_SUFFIXES
from clipsep.queries.prompts import encode_prompted

AUDIO = "audio"  # a kind of query, beside TEXT and IMAGE


class MixtureQueries:
    """Embeds the queries of mixtures, each text and the images of each mixture once and by itself.

    So an embedding depends on nothing but its query, whatever else is evaluated.

    Args:
        prompts: the prompt set that texts go through.
        images: a folder of images with one folder per label, see `random_image`; None for the
            images that the mixtures name.
        known: the model's known sounds, towards which queries are drawn; None leaves them as they are.
        mixtures: among which audio queries are found, see `other_recording`.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        prompts: str,
        images: Path | None,
        known: KnownSounds | None = None,
        mixtures: Sequence[Mixture] = (),
    ):
        self._mixtures = mixtures
        self._encoder, self._prompts, self._folder = encoder, prompts, images
        self._known = known
        self._embeddings: dict[tuple[str, str], np.ndarray] = {}

    @property
    def prompts(self) -> str | None:
        """The prompt set that texts go through; None where labels are looked up as they are."""
        return None if self._encoder.id == LabelEncoder.id else self._prompts

    def embed(self, kind: str, mixture: Mixture) -> np.ndarray:
        """Embed [D] a mixture's text, its images (the mean), or audio like its target.

        Raises:
            UsageError, ClipsepError: for a query that the encoder cannot take, or a missing image.
        """
        key = (kind, mixture.query if kind == TEXT else mixture.id)
        if key not in self._embeddings:
            read = {TEXT: self._text, IMAGE: self._image, AUDIO: self._audio}[kind]
            embedding = np.asarray(read(mixture), np.float32)
            if self._known is not None and kind != AUDIO:
                embedding = self._known.draw(embedding[None], TEXT if kind == TEXT else IMAGE)[0]
            self._embeddings[key] = embedding
        return self._embeddings[key]

    def others(self, mixture: Mixture) -> np.ndarray:
        """Embed [M, D] the labels of what is mixed with the target.

        Raises:
            UsageError: if one has none.
        """
        labels = [interferer.label for interferer in mixture.interferers]
        if not labels or not all(labels):
            raise UsageError(
                f"Mixture {mixture.id} does not say what else is in it: --not-others needs a list with "
                "the labels, or the negative captions, of all other sounds."
            )
        named = [replace(mixture, query=label) for label in labels if label]
        return np.stack([self.embed(TEXT, one) for one in named])

    def images(self, mixture: Mixture) -> list[Image.Image]:
        """Open the images of a mixture's image query."""
        if self._folder is None:
            return load_frames(mixture)
        return [open_image(random_image(mixture, self._folder))]

    def _text(self, mixture: Mixture) -> np.ndarray:
        return encode_prompted(self._encoder, [mixture.query], self._prompts)[0]

    def _image(self, mixture: Mixture) -> np.ndarray:
        return self._encoder.encode_images(self.images(mixture)).mean(axis=0)

    def _audio(self, mixture: Mixture) -> np.ndarray:
        other = other_recording(mixture, self._mixtures)
        target = load_sources(other)[:1]
        return reads_audio(self._encoder).encode_audios(list(target), other.sample_rate)[0]


def other_recording(mixture: Mixture, mixtures: Sequence[Mixture]) -> Mixture:
    """One whose target is of the same class, but a file that is not in the mixture; the same in every run.

    Raises:
        UsageError: if there is none.
    """
    heard = {mixture.target, *(interferer.path for interferer in mixture.interferers)}
    fit = [
        other
        for other in mixtures
        if class_of(other) == class_of(mixture) and other.target not in heard
    ]
    if not fit:
        raise UsageError(
            f"Mixture {mixture.id} cannot be found by audio: the list has no other recording of "
            f"'{class_of(mixture)}'. Use --query text, or a list with more of each."
        )
    return random.Random(mixture.id).choice(fit)


def random_image(mixture: Mixture, images: Path) -> Path:
    """One image of the target's class, the same in every run.

    Args:
        images: a folder that has one for each label, with underscores for spaces.

    Raises:
        UsageError: if there is none.
    """
    folder = images / class_of(mixture).replace(" ", "_")
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UsageError(
            f"--images: there are no images in '{folder}', where those of '{class_of(mixture)}' belong."
        )
    return random.Random(mixture.id).choice(found)


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
    """Name the class under which a mixture is reported: its label, or its query if it has none."""
    return mixture.label or mixture.query
