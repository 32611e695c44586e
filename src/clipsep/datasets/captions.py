"""Texts about clips, several for each: captions, or all the sounds that are heard in it.

They lie beside the index, so that they can be added to a finished data set.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from clipsep.datasets.format import read_table, write_table
from clipsep.errors import UsageError

CAPTIONS_FILE = "captions.arrow"
_SCHEMA = pa.schema({"id": pa.string(), "texts": pa.list_(pa.string())})


def read_captions_csv(path: Path) -> dict[str, list[str]]:
    """Read the texts of a CSV file ``path,caption`` with a row for each, by the ids of clips.

    Raises:
        UsageError: if it is not such a file, or a caption is empty.
    """
    problem = "its first line is not 'path,caption'"
    captions: dict[str, list[str]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if {"path", "caption"} <= set(reader.fieldnames or ()):
                for row in reader:
                    text = " ".join((row["caption"] or "").split())
                    if not text:
                        raise UsageError(f"'{path}', line {reader.line_num}: the caption is empty.")
                    texts = captions.setdefault(row["path"], [])
                    if text not in texts:
                        texts.append(text)
                return captions
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = str(error)
    raise UsageError(f"'{path}' is not a CSV file with the columns path,caption: {problem}.")


def add_captions(
    root: Path, captions: Mapping[str, Sequence[str]], ids: Iterable[str]
) -> tuple[int, int]:
    """Store the texts of clips; they replace those that a clip had, and other clips keep theirs.

    Args:
        ids: all clips of the data set.

    Returns:
        how many clips got texts, and how many of ``captions`` are of no clip.

    Raises:
        UsageError: if there are captions, and none is of a clip of the data set.
    """
    known = set(ids)
    stored = captions_of(root / CAPTIONS_FILE) if (root / CAPTIONS_FILE).exists() else {}
    new = {clip: list(texts) for clip, texts in captions.items() if clip in known}
    if captions and known and not new:
        raise UsageError(
            f"None of the captions is of a clip of this data set: '{next(iter(captions))}' is none; its "
            f"clips have paths like '{min(known)}'."
        )
    merged = dict(sorted({**stored, **new}.items()))
    columns = [pa.array(merged.keys(), pa.string()), pa.array(merged.values(), _SCHEMA[1].type)]
    write_table(pa.table(columns, schema=_SCHEMA), root / CAPTIONS_FILE)
    return len(new), len(captions) - len(new)


def captions_of(path: Path) -> dict[str, list[str]]:
    """Read a file of captions: the texts by the ids of clips; ClipsepError if it is damaged."""
    table = read_table(path)
    return dict(zip(table["id"].to_pylist(), table["texts"].to_pylist(), strict=True))
