"""Builds the embedded encoder's files, src/clipsep/assets/embedded: build_assets.py CORPUS

It must see the labels and the free training photos only. Other files are another space: raise the id.
Without CORPUS it writes the ONNX files again, with the classes as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from class_table import Names
from learn_rows import ROWS, free_features, learn_rows
from networks import ClassifierNetwork, SentenceNetwork, tokenizer_json
from onnx_files import export
from photos import read_corpus

from clipsep.engines.session import open_session
from clipsep.queries.embedded.files import CLASSES, FOLDER, IMAGE, TEXT, TOKENIZER
from clipsep.queries.embedded.image import FEATURES
from clipsep.queries.embedded.text import MAX_TOKENS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", help="folder with manifest.csv")
    corpus = parser.parse_args().corpus
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if corpus is not None:
        build_classes(corpus)
    rows = safetensors.torch.load_file(FOLDER / CLASSES)
    classifier = ClassifierNetwork(rows["extra_weight"].float(), rows["extra_bias"].float())
    write_onnx_files(classifier)
    for name in (CLASSES, IMAGE, TEXT, TOKENIZER):
        content = (FOLDER / name).read_bytes()
        print(f"{name}: {len(content) / 1e6:.2f} MB, {hashlib.sha256(content).hexdigest()}")


def write_onnx_files(classifier: ClassifierNetwork) -> None:
    """Both networks and the tokenizer, as the package reads them."""
    batch, length = torch.export.Dim("B"), torch.export.Dim("L", max=MAX_TOKENS)
    tokens = torch.ones(2, 9, dtype=torch.long)
    export(
        SentenceNetwork(MAX_TOKENS),
        (tokens, torch.ones_like(tokens)),
        FOLDER / TEXT,
        input_names=["tokens", "valid"],
        output_names=["vectors"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
    )
    export_image(classifier)
    (FOLDER / TOKENIZER).write_bytes(tokenizer_json())


def export_image(classifier: ClassifierNetwork) -> None:
    export(
        classifier,
        (torch.zeros(2, 3, 224, 224, dtype=torch.uint8),),
        FOLDER / IMAGE,
        input_names=["pixels"],
        output_names=["features", "logits"],
        dynamic_shapes=({0: torch.export.Dim("B")},),
    )


def build_classes(corpus: Path) -> None:
    """Learn the rows and write them with the table of names."""
    labels, photos = read_corpus(corpus)
    rows = list(ROWS)
    table = Names(labels).table(rows)
    export_image(ClassifierNetwork(torch.zeros(0, FEATURES), torch.zeros(0)))
    session = open_session((FOLDER / IMAGE).read_bytes(), f"'{IMAGE}'", 1, "cpu")
    samples = free_features(photos, lambda x: session.run(["features"], {"pixels": x})[0])
    weight, bias = learn_rows(samples, rows)
    tensors = {name: torch.from_numpy(value) for name, value in vars(table).items()}
    tensors |= {"extra_weight": weight, "extra_bias": bias}
    stored = {name: value.half().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(stored, FOLDER / CLASSES, {"extra_classes": json.dumps(rows)})


if __name__ == "__main__":
    main()
