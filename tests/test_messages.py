"""Numbers and nouns agree."""

from __future__ import annotations

import pytest

from clipsep.messages import counted


@pytest.mark.parametrize(
    ("number", "nouns", "expected"),
    [
        (0, ["clip"], "0 clips"),
        (1, ["clip"], "1 clip"),
        (2, ["clip"], "2 clips"),
        (1, ["class", "classes"], "1 class"),
        (3, ["class", "classes"], "3 classes"),
    ],
)
def test_a_number_has_its_noun(number: int, nouns: list[str], expected: str):
    assert counted(number, *nouns) == expected
