"""Picture queries without a language: features of an image classifier, as in Sound of Pixels.

It must not know about texts; a model trained with it can only be asked with pictures.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from clipsep.errors import UsageError
from clipsep.queries.embedded.image import FEATURES, PictureClassifier

ID = "efficientnet-lite0"


class PictureFeatureEncoder:
    """Pooled EfficientNet-Lite0 features, the place that ResNet-18 has in the paper's SOP baseline.

    Raises ClipsepError if the classifier's package or weights are missing or damaged.
    """

    id = ID
    dim = FEATURES

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._classifier = PictureClassifier(device)

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Raises UsageError: the features have no words."""
        raise UsageError("This model was trained with pictures alone; query it with a picture.")

    def encode_images(self, images: list[Image.Image]) -> Tensor:
        """Pictures of any mode and size -> features [B,1280] float32, not normalised."""
        return self._classifier.image_features(images)
