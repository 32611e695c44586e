"""Picture queries without a language: features of an image classifier, as in Sound of Pixels.

It must not know about texts; a model trained with it can only be asked with pictures.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from clipsep.errors import UsageError
from clipsep.queries.classifier import FEATURES, PictureClassifier, centre_crop

ID = "efficientnet-lite0"
_BATCH = 16


class PictureFeatureEncoder:
    """Pooled EfficientNet-Lite0 features, the place that ResNet-18 has in the paper's SOP baseline.

    Raises ClipsepError if the classifier's package or weights are missing or damaged.
    """

    id = ID
    dim = FEATURES

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._classifier = PictureClassifier(self._device)

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Raises UsageError: the features have no words."""
        raise UsageError("This model was trained with pictures alone; query it with a picture.")

    def encode_images(self, images: list[Image.Image]) -> Tensor:
        """Pictures of any mode and size -> features [B,1280] float32, not normalised."""
        chunks = [
            self._classifier.features(
                torch.stack([centre_crop(im) for im in images[i : i + _BATCH]])
            )
            for i in range(0, len(images), _BATCH)
        ]
        return torch.cat(chunks) if chunks else torch.zeros(0, FEATURES, device=self._device)
