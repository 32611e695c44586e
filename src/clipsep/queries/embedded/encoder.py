"""The embedded query encoder: texts and images in one space, offline straight after install."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import safetensors
import safetensors.numpy
from PIL import Image

from clipsep.errors import ClipsepError
from clipsep.queries.embedded.files import CLASSES, FOLDER, read_asset
from clipsep.queries.embedded.image import ImageClassifier
from clipsep.queries.embedded.text import DIM, SentenceEncoder
from clipsep.queries.prompts import check_texts

ID = "embedded-v2"
SOUND_PROMPT = "the sound of {}"
# An image is what its few likeliest classes say; the long tail says what most classes are.
TOP_CLASSES = 5
IMAGE_TEMPERATURE = 1.5
TEXT_TEMPERATURE = 0.1
TEXT_BLEND = 0.3


class ClassTable:
    """What images and texts are explained by: 1000 classes of ImageNet, extra ones, further sounds.

    Images know the classes alone; texts are drawn towards the sounds without a class, too.

    Args:
        names: [classes + sounds, 384] sentence vectors of the names minus ``mean``. A class of
            ImageNet with a typical sound lies halfway between its name and the sound's.
        mean, sound_mean: [384], means over the 1000 ImageNet names, bare and as "the sound of NAME".
    """

    def __init__(self, names: np.ndarray, mean: np.ndarray, sound_mean: np.ndarray) -> None:
        self.names = names.astype(np.float32)
        self.mean, self.sound_mean = mean.astype(np.float32), sound_mean.astype(np.float32)

    @classmethod
    def load(cls) -> ClassTable:
        """Read the table that ships with the package; ClipsepError if the file is damaged."""
        try:
            tensors = safetensors.numpy.load(read_asset(CLASSES))
            return cls(tensors["names"], tensors["mean"], tensors["sound_mean"])
        except (KeyError, safetensors.SafetensorError) as error:
            raise ClipsepError(
                f"'{FOLDER / CLASSES}' is damaged: install clipsep again."
            ) from error


class EmbeddedEncoder:
    """ConSE (Norouzi et al., 2014) on EfficientNet-Lite0 and MiniLM, both modalities centred.

    An image is the probability-weighted mean of its likeliest classes' name vectors; a text is its own
    sentence vector, pulled towards the class names that resemble it. Embeddings [B, 384] have unit
    norm. Networks load on first use: texts need no classifier, images need no sentence encoder.

    Args:
        device: ``cuda`` uses a GPU where onnxruntime-gpu is installed; all else the CPU.
        threads: how many ONNX Runtime uses; None for one per core.
        table: replaces the shipped classes, for measurements and tests.
    """

    id = ID
    dim = DIM

    def __init__(
        self, device: str = "cpu", threads: int | None = None, table: ClassTable | None = None
    ) -> None:
        self._device, self._threads = device, threads
        self._table = table or ClassTable.load()

    @cached_property
    def _sentences(self) -> SentenceEncoder:
        return SentenceEncoder(self._device, self._threads)

    @cached_property
    def _classifier(self) -> ImageClassifier:
        return ImageClassifier(self._device, self._threads)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts to unit embeddings [B, 384] float32; more than 256 tokens of a text are cut off.

        Raises UsageError for a blank text.
        """
        check_texts(texts)
        vectors = self._sentences([*texts, *(SOUND_PROMPT.format(text) for text in texts)])
        return self.embed_sentences(vectors[: len(texts)], vectors[len(texts) :])

    def embed_sentences(self, bare: np.ndarray, sounding: np.ndarray) -> np.ndarray:
        """Sentence vectors [B, 384] of texts, bare and as "the sound of TEXT", to unit embeddings."""
        table = self._table
        own = _unit(_unit(bare - table.mean) + _unit(sounding - table.sound_mean))  # [B, 384]
        resemblance = own @ _unit(table.names).T  # [B, classes + sounds]
        explained = _unit(_softmax(resemblance / TEXT_TEMPERATURE) @ table.names)
        return _unit((1 - TEXT_BLEND) * own + TEXT_BLEND * explained)

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Images of any mode and size to unit embeddings [B, 384] float32."""
        return self.embed_logits(self._classifier.classify(images)[1])

    def embed_logits(self, logits: np.ndarray) -> np.ndarray:
        """Classifier logits [B, classes] to unit embeddings [B, 384]."""
        names = self._table.names[: logits.shape[1]]
        least = np.partition(logits, -TOP_CLASSES, axis=-1)[:, [-TOP_CLASSES]]
        likeliest = np.where(logits >= least, logits, -np.inf)
        return _unit(_softmax(likeliest / IMAGE_TEMPERATURE) @ names)


def _unit(vectors: np.ndarray) -> np.ndarray:
    # The constant keeps a zero vector from becoming 0 / 0.
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
