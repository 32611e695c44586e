"""A few lines of YAML never become gigabytes, hours, code or a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsep.errors import UsageError
from clipsep.training.bounded_yaml import MOST_BYTES, read_yaml
from clipsep.training.config import load_config

MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=False)
)


@pytest.mark.parametrize(
    "text",
    [
        *("steps: 2020-13-45", "steps: !!int zz", "steps: !!bool zz", "steps: !!timestamp x"),
        "steps: !!int",
        *("[" * 20_000, "{a: " * 51 + "}" * 51, "a: &a [*a]", MERGES, "a: !!python/name:os.system"),
        *(
            "steps: " + "9" * 5000,
            'extends: "\\0"',
            "x" * (MOST_BYTES + 1),
            "a: !!binary x",
            "\x00",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_yaml_is_one_sentence(tmp_path: Path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="config") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_chain_of_extended_files_ends(tmp_path: Path):
    for number in range(200):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    with pytest.raises(UsageError, match="extends more than"):
        load_config(tmp_path / "0.yaml")


def test_plain_values_come_through():
    text = "a: {b: [1, 2.5, x, null, true], c: '2020-01-01'}"
    assert read_yaml(text) == {"a": {"b": [1, 2.5, "x", None, True], "c": "2020-01-01"}}
