"""Brings any Pillow image to upright 8-bit RGB, the one form in which encoders take pictures.

It must not know about networks, crops or normalisation.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright RGB copy of an image of any mode.

    Camera rotation (EXIF) is applied, transparency is laid on white, 16-bit grey is scaled to
    8 bits (Pillow's own conversion would clip it to white).
    """
    if image.mode == "RGB" and not image.getexif():
        return image
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.int64)
        scaled = (np.clip(grey, 0, 65535) // 257).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
