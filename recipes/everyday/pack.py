"""A corpus as a few files that travel: `python -m recipes.everyday.pack CORPUS WORDINGS -o pack`.

What is learnt from: the recordings and images of the training split whose licence allows weights to be
shipped (`use` is `free` in manifest.csv; images may be `research`, because they only serve as queries). The
audio stays as compressed as it is; texts and images go in as their embeddings.
"""

from __future__ import annotations

import argparse
import csv
import json
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

AUDIO = "audio-{}.bin"
INDEX = "index.json"
EMBEDDINGS = "embeddings.npz"
_CROPS = ((0.0, 0.0, 1.0, 1.0), (0.1, 0.1, 0.9, 0.9))  # left, top, right, bottom


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pack_audio(corpus: Path, rows: list[dict[str, str]], output: Path, parts: int) -> list[dict]:
    """Write the files of rows into ``parts`` blobs; where each of them lies."""
    places = []
    total = sum((corpus / row["path"]).stat().st_size for row in rows)
    written, part = 0, 0
    file = open(output / AUDIO.format(part), "wb")  # noqa: SIM115
    for row in rows:
        if written > total * (part + 1) / parts:
            file.close()
            part += 1
            file = open(output / AUDIO.format(part), "wb")  # noqa: SIM115
        content = (corpus / row["path"]).read_bytes()
        places.append(
            {
                "path": row["path"],
                "label": row["label"],
                "split": row["split"],
                "part": part,
                "offset": file.tell(),
                "size": len(content),
            }
        )
        file.write(content)
        written += len(content)
    file.close()
    return places


def crops(path: Path) -> list[Image.Image]:
    """Cut the image and parts of it, as frames of a video that pans and zooms."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    sides = (width, height, width, height)
    boxes = [[share * side for share, side in zip(crop, sides, strict=True)] for crop in _CROPS]
    return [image.crop(tuple(map(round, box))) for box in boxes]


def main() -> None:
    """Write the pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("wordings", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=2)
    options = parser.parse_args()
    corpus, output = options.corpus, options.output
    output.mkdir(parents=True, exist_ok=True)
    manifest = read_rows(corpus / "manifest.csv")
    train = [
        row
        for row in manifest
        if (row["kind"], row["split"], row["use"]) == ("audio", "train", "free")
    ]
    pairs = {name: read_rows(corpus / f"{name}.csv") for name in ("pairs_val", "pairs_val_wide")}
    needed = {
        row[side] for rows in pairs.values() for row in rows for side in ("target", "interferer")
    }
    val = [row for row in manifest if row["kind"] == "audio" and row["path"] in needed]
    train.sort(key=lambda row: zlib.crc32(row["path"].encode()))  # each part has all labels
    places = pack_audio(corpus, [*val, *train], output, options.parts)
    labels = sorted({row["label"] for row in train})

    from clipsep.queries import load_query_encoder  # what trains elsewhere needs no encoder

    encoder = load_query_encoder("embedded")
    wordings = read_rows(options.wordings)
    arrays = {}
    asked = sorted({*labels, *(row["label"] for rows in pairs.values() for row in rows)})
    arrays["labels"] = encoder.encode_texts(asked)
    taught = [row for row in wordings if row["split"] == "train" and row["label"] in labels]
    arrays["wordings"] = encoder.encode_texts([row["wording"] for row in taught])
    images = [row for row in manifest if row["kind"] == "image"]
    shown = {}
    for split in ("train", "val"):
        rows = [row for row in images if row["split"] == split and row["label"] in labels]
        rows = (
            rows
            if split == "train"
            else [row for row in rows if sum(row["label"] == other["label"] for other in rows) >= 3]
        )
        stacked = []
        for row in rows:
            views = crops(corpus / row["path"])
            stacked.append(encoder.encode_images(views if split == "train" else views[:1]))
        arrays[f"images_{split}"] = np.concatenate(stacked)
        each = len(_CROPS) if split == "train" else 1
        shown[split] = [row["label"] for row in rows for _ in range(each)]
    np.savez(output / EMBEDDINGS, **{name: a.astype(np.float16) for name, a in arrays.items()})
    groups = defaultdict(list)
    for row in read_rows(corpus / "similar.csv"):
        groups[row["label"]].append(int(row["group"]))
    index = {
        "audio": places,
        "labels": labels,
        "asked": asked,
        "wordings": [row["label"] for row in taught],
        "images": shown,
        "groups": groups,
        "pairs": pairs,
        "encoder": encoder.id,
    }
    (output / INDEX).write_text(json.dumps(index))
    sizes = {path.name: path.stat().st_size >> 20 for path in sorted(output.iterdir())}
    print(f"{len(train)} recordings of {len(labels)} labels, {len(taught)} wordings, {sizes} MiB")


if __name__ == "__main__":
    main()
