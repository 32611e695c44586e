"""The embedded query encoder: texts and pictures in one space, offline straight after install.

It must not know about sound or separation, and it must not import transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from clipsep.errors import ClipsepError
from clipsep.queries.embedded.image import CLASSES, PictureClassifier
from clipsep.queries.embedded.text import DIM, SentenceEncoder
from clipsep.queries.embedded.weights import asset_file
from clipsep.queries.prompts import check_texts

ID = "embedded-v1"
SOUND_PROMPT = "the sound of {}"
PICTURE_TEMPERATURE = 2.0
TEXT_TEMPERATURE = 0.1
TEXT_BLEND = 0.3


@dataclass(frozen=True)
class ClassTable:
    """The classes that pictures are explained by: 1000 of ImageNet, then ``E`` extra ones.

    names: [1000+E,384] sentence vectors of the class names minus ``mean``.
    mean, sound_mean: [384], means over the 1000 ImageNet names, bare and as "the sound of NAME".
    extra_weight [E,1280], extra_bias [E]: the classifier's rows for the extra classes.
    """

    names: Tensor
    mean: Tensor
    sound_mean: Tensor
    extra_weight: Tensor
    extra_bias: Tensor

    @classmethod
    def load(cls) -> ClassTable:
        """The table that ships with the package; raises ClipsepError if the file is damaged."""
        file = asset_file("embedded.safetensors")
        try:
            tensors = safetensors.torch.load(file.read_bytes())
            return cls(**{name: tensor.float() for name, tensor in tensors.items()})
        except (OSError, TypeError, safetensors.SafetensorError) as error:
            raise ClipsepError(f"{file} is damaged; reinstall clipsep to restore it.") from error

    def without_extras(self) -> ClassTable:
        """The same table with the 1000 ImageNet classes only."""
        return replace(
            self,
            names=self.names[:CLASSES],
            extra_weight=self.extra_weight[:0],
            extra_bias=self.extra_bias[:0],
        )

    def to(self, device: torch.device) -> ClassTable:
        """The same table on a device."""
        return ClassTable(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class EmbeddedEncoder:
    """ConSE (Norouzi et al., 2014) on EfficientNet-Lite0 and MiniLM, both modalities centred.

    A picture is the probability-weighted mean of its classes' name vectors; a text is its own
    sentence vector, pulled towards the class names that resemble it. Embeddings [B,384] have unit
    norm and lie on the encoder's device. Networks load on first use: texts need no classifier,
    pictures need no sentence encoder.
    """

    id = ID
    dim = DIM

    def __init__(self, device: str | torch.device = "cpu", table: ClassTable | None = None) -> None:
        """``table`` replaces the shipped classes, for measurements and tests."""
        self._device = torch.device(device)
        self._table = (ClassTable.load() if table is None else table).to(self._device)

    @cached_property
    def _sentences(self) -> SentenceEncoder:
        return SentenceEncoder(self._device)

    @cached_property
    def _classifier(self) -> PictureClassifier:
        return PictureClassifier(self._device)

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Texts -> unit embeddings [B,384] float32; more than 256 tokens of a text are cut off.

        Raises UsageError for a blank text.
        """
        check_texts(texts)
        table, count = self._table, len(texts)
        vectors = self._sentences([*texts, *(SOUND_PROMPT.format(text) for text in texts)])
        bare = F.normalize(vectors[:count] - table.mean, dim=-1)
        sounding = F.normalize(vectors[count:] - table.sound_mean, dim=-1)
        own = F.normalize(bare + sounding, dim=-1)  # [B,384]
        resemblance = own @ F.normalize(table.names, dim=-1).T  # [B,1000+E]
        weights = torch.softmax(resemblance / TEXT_TEMPERATURE, dim=-1)
        explained = F.normalize(weights @ table.names, dim=-1)
        return F.normalize((1 - TEXT_BLEND) * own + TEXT_BLEND * explained, dim=-1)

    @torch.no_grad()
    def encode_images(self, images: list[Image.Image]) -> Tensor:
        """Pictures of any mode and size -> unit embeddings [B,384] float32."""
        return self.embed_features(self._classifier.image_features(images))

    @torch.no_grad()
    def embed_features(self, features: Tensor) -> Tensor:
        """Classifier features [B,1280] -> unit embeddings [B,384]."""
        table = self._table
        logits = torch.cat(
            [
                self._classifier.head(features),
                F.linear(features, table.extra_weight, table.extra_bias),
            ],
            dim=-1,
        )  # [B,1000+E]
        weights = torch.softmax(logits / PICTURE_TEMPERATURE, dim=-1)
        return F.normalize(weights @ table.names, dim=-1)
