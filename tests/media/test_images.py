"""Images from anywhere: within limits of size and kind, or one sentence that names the file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.media.images import open_image, to_rgb


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("size", [(1, 170_000_000), (10_000, 10_000), (13_000, 50_000)])
def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, size, recwarn):
    with pytest.raises(ClipsepError, match="pixels") as caught:
        open_image(bomb(tmp_path / "bomb.png", *size))
    assert "bomb.png" in str(caught.value) and not recwarn


def test_what_is_no_image_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        open_image(tmp_path / "missing.png")
    path = tmp_path / "x.png"
    for content in (b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        path.write_bytes(content)
        with pytest.raises(ClipsepError, match=r"Cannot read the image '.*x\.png'"):
            open_image(path)
    with pytest.raises(ClipsepError, match="Cannot read"):
        open_image(bomb(path, 10, 10))
    with pytest.raises(ClipsepError, match="Cannot read"):
        open_image(tmp_path)
    Image.new("RGB", (3, 2)).save(path)
    assert open_image(path).size == (3, 2)


def test_the_transparent_colour_of_an_rgb_image_is_white(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (200, 0, 0))
    image.save(tmp_path / "x.png", transparency=(1, 2, 3))
    opaque = to_rgb(open_image(tmp_path / "x.png"))
    assert [opaque.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


def test_16_bits_are_scaled_and_not_cut():
    ramp = np.linspace(0, 65535, 1000, dtype=np.uint16)[None]
    for image in (Image.fromarray(ramp), Image.fromarray(ramp.astype(np.int32))):
        grey = np.asarray(to_rgb(image))
        assert np.array_equal(grey[0, :, 1], ramp[0] // 257)
    beyond = Image.fromarray(np.array([[-5, 70000]], np.int32))
    assert np.asarray(to_rgb(beyond))[0, :, 0].tolist() == [0, 255]
