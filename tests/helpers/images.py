"""Synthetic images for the tests of query encoders; it must read no file."""

from __future__ import annotations

import numpy as np
from PIL import Image


def random_image(seed: int = 0, width: int = 96, height: int = 80) -> Image.Image:
    """A smooth random RGB image, the same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
