"""What may be asked with, and by which name the answer is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.errors import UsageError
from clipsep.queries.parsing import named_queries


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    paths = [tmp_path / folder / "1.jpg" for folder in ("cat", "dog", "dog/big")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    assert list(named_queries(["rain", *paths[:2]])) == ["rain", "cat/1.jpg", "dog/1.jpg"]
    assert len(named_queries(paths)) == 3
    assert list(named_queries([str(paths[0])])) == ["1.jpg"]
    with pytest.raises(UsageError, match="given twice"):
        named_queries([paths[0], paths[0]])


@pytest.mark.parametrize("query", [3, b"violin", np.zeros((4, 4, 3), np.uint8), None, "\udcff"])
def test_what_is_no_query_is_one_sentence(query):
    with pytest.raises(UsageError, match="query"):
        named_queries([query])


def test_a_path_that_no_file_can_have_is_one_sentence():
    with pytest.raises(Exception, match="Cannot read the image") as caught:
        named_queries(["a\0.png"])
    assert caught.type.__name__ == "ClipsepError"
