"""Image queries without a language: features of an image classifier, as in Sound of Pixels.

A model trained with it can only be queried with images.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipsep.errors import UsageError
from clipsep.queries.embedded.image import FEATURES, ImageClassifier

ID = "efficientnet-lite0"


class ImageFeatureEncoder:
    """Pooled EfficientNet-Lite0 features, the place that ResNet-18 has in the paper's SOP baseline.

    Raises ClipsepError if the classifier's file is missing or damaged.
    """

    id = ID
    dim = FEATURES

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        self._classifier = ImageClassifier(device, threads)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Raise UsageError: the features have no words."""
        raise UsageError("This model was trained with images alone; query it with an image.")

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Images of any mode and size -> features [B,1280] float32, not normalised."""
        return self._classifier.classify(images)[0]
