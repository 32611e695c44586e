"""Uploaded images: read as the command line reads them, by nothing that starts a program."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.errors import ClipsepError
from clipsep.media.images import open_image, to_rgb
from clipsep.serving.work.decoder import LONGEST_SIDE, decode_image

REQUEST = {"pixels": 2_000_000}


def test_an_image_is_the_same_as_on_the_command_line(tmp_path: Path):
    ramp = np.linspace(0, 65535, 300 * 200).astype(np.uint16).reshape(200, 300)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    Image.new("RGB", (300, 200), "red").save(tmp_path / "turned.png", exif=turned)
    Image.new("RGB", (300, 200), "red").save(tmp_path / "clear.png", transparency=(255, 0, 0))
    for path in tmp_path.glob("*.png"):
        found = decode_image(path, tmp_path / "pixels.npy", REQUEST)
        pixels = np.load(tmp_path / "pixels.npy")
        assert np.array_equal(pixels, np.asarray(to_rgb(open_image(path)))), path
        assert pixels.shape == (found["height"], found["width"], 3)


def test_an_image_is_made_small_and_one_beyond_the_limit_refused(tmp_path: Path):
    Image.new("RGB", (1280, 800)).save(tmp_path / "x.png")
    found = decode_image(tmp_path / "x.png", tmp_path / "pixels.npy", REQUEST)
    assert (found["width"], found["height"]) == (LONGEST_SIDE, 400)
    with pytest.raises(ClipsepError, match=r"1280 x 800 pixels.* at most 0\.5 million"):
        decode_image(tmp_path / "x.png", tmp_path / "pixels.npy", {"pixels": 500_000})


@pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")
def test_no_program_is_started_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Image.new("RGB", (9, 9)).save(tmp_path / "x.eps")
    with pytest.raises(ClipsepError, match="Cannot read the image"):
        decode_image(tmp_path / "x.eps", tmp_path / "pixels.npy", REQUEST)
    assert not (tmp_path / "started").exists()
