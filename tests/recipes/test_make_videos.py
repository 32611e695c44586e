"""Videos from a folder of sounds and images: which classes they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from recipes.mini.make_videos import CorpusError, main, read_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two classes with sounds and images, one without images."""
    for label in ("cat", "dog", "wind"):
        folder = tmp_path / "corpus" / "audio" / "train" / label
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.wav", 0.1 * np.ones(16_000), 16_000)
        if label != "wind":
            folder = tmp_path / "corpus" / "images" / "train" / label
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / "a.png")
    return tmp_path / "corpus"


def test_a_class_needs_a_sound_and_an_image(corpus: Path):
    found = read_corpus(corpus, "train")
    assert list(found.recordings) == list(found.images) == ["cat", "dog"]
    with pytest.raises(CorpusError, match="'val' has no class"):
        read_corpus(corpus, "val")


def test_classes_can_be_those_of_a_list_of_mixtures(corpus: Path):
    mixtures = corpus / "pairs.csv"
    mixtures.write_text("id,label\n1,dog\n2,wind\n3,dog\n")
    assert list(read_corpus(corpus, "train", mixtures).recordings) == ["dog"]


def test_videos_and_their_labels_are_written(corpus: Path, tmp_path: Path):
    main([str(corpus), "-o", str(tmp_path / "videos"), "--split", "train", "--per-class", "1"])
    rows = (tmp_path / "videos" / "labels.csv").read_text().split()
    videos = sorted(
        path.relative_to(tmp_path / "videos").as_posix() for path in tmp_path.glob("videos/*/*.mp4")
    )
    assert rows == ["path,label", *(f"{video},{video.split('/')[0]}" for video in videos)]
    assert len(videos) == 2
