"""EfficientNet-Lite0, the image classifier, as an ONNX file inside the package."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipsep.engines.session import open_session
from clipsep.media.images import to_rgb
from clipsep.queries.embedded.files import IMAGE, read_asset

SIZE = 224
FEATURES = 1280
IMAGENET_CLASSES = 1000
# Two images' activations stay in the cache: per image nearly twice as fast as 16.
_BATCH = 2


class ImageClassifier:
    """Features and logits of an image: 1000 classes of ImageNet, then our own.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: how many ONNX Runtime uses; None for one per core.

    Raises:
        ClipsepError: if the file is missing or damaged.
    """

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        self._session = open_session(read_asset(IMAGE), f"'{IMAGE}'", threads, device)
        self.n_classes: int = self._session.get_outputs()[1].shape[1]

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [B, 3, 224, 224] uint8 to pooled features [B, 1280] and logits [B, n_classes]."""
        features, logits = self._session.run(["features", "logits"], {"pixels": pixels})
        return features, logits

    def classify(self, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """Images of any mode and size, centre-cropped, to features and logits as above."""
        features = [np.zeros((0, FEATURES), np.float32)]
        logits = [np.zeros((0, self.n_classes), np.float32)]
        for start in range(0, len(images), _BATCH):
            pixels = np.stack([centre_crop(image) for image in images[start : start + _BATCH]])
            rows = self(pixels)
            features.append(rows[0])
            logits.append(rows[1])
        return np.concatenate(features), np.concatenate(logits)


def centre_crop(image: Image.Image) -> np.ndarray:
    """Any Pillow image to pixels [3, 224, 224] uint8: the central square, 224/256 of the short side.

    Resized once, bicubic; images of any size from 1x1 work.
    """
    image = to_rgb(image)  # first: it may turn the image
    side = max(1, 224 * min(image.size) // 256)
    left, top = ((extent - side + 1) // 2 for extent in image.size)
    return crop(image, (left, top, left + side, top + side))


def crop(image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    """Scale the box (left, top, right, bottom) of an RGB image to pixels [3, 224, 224] uint8."""
    resized = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized).transpose(2, 0, 1)
