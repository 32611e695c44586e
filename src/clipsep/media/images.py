"""Images: opened within limits, and brought to upright 8-bit RGB, the one form that encoders take."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clipsep.errors import ClipsepError, UsageError

MOST_PIXELS = 50_000_000
# Others are not tried, and some of their readers start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def open_image(path: Path, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """Read an image file whole. Its size is checked before a pixel is decoded.

    Raises:
        UsageError: if it does not exist.
        ClipsepError: if it cannot be read, or has too many pixels.
    """
    most = f"at most {most_pixels / 1e6:g} million"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            image = Image.open(path, formats=_FORMATS)
        with image:
            width, height = image.size
            if width * height > most_pixels:
                raise ClipsepError(
                    f"The image '{path}' has {width} x {height} pixels: make it smaller, {most} pixels "
                    "can be read."
                )
            image.load()
            return image
    except FileNotFoundError as error:
        raise UsageError(f"The image '{path}' does not exist.") from error
    except Image.DecompressionBombError as error:
        raise ClipsepError(
            f"The image '{path}' has too many pixels: {most} can be read."
        ) from error
    except MemoryError as error:
        raise ClipsepError(f"There is not enough memory for the image '{path}'.") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or of another format"
        raise ClipsepError(f"Cannot read the image '{path}': {reason}.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright RGB copy of an image of any mode.

    Camera rotation (EXIF) is applied, transparency is laid on white, 16-bit grey is scaled to
    8 bits (Pillow's own conversion would clip it to white).
    """
    if image.mode == "RGB" and not image.getexif() and not image.has_transparency_data:
        return image
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        scaled = (np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
