"""Learns classifier rows for sounds whose sources ImageNet does not have, on the frozen network.

It must see training photos with a free licence alone: the rows ship.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
import torch
import torch.nn.functional as F
from networks import ClassifierNetwork
from photos import Photo
from PIL import Image
from torch import Tensor

from clipsep.media.images import to_rgb
from clipsep.queries.embedded.image import FEATURES, IMAGENET_CLASSES, centre_crop, crop

# Labels with six free training photos or more whose photos find other texts first, or lie far from
# their own, with the 1000 classes alone. Where labels share photos, one of them has the row. No row
# where the photos show no source of the sound: ten human sounds show faces of silent people.
ROWS = (
    "airplane flying",
    "alarm clock",
    "camera shutter",
    "cannon firing",
    "cat meowing",
    "coins dropping",
    "cutting with scissors",
    "dolphin clicking",
    "electric fan",
    "electric guitar",
    "helicopter",
    "kangaroo",
    "lion roaring",
    "motorboat",
    "ostrich booming",
    "person speaking",
    "pigeon cooing",
    "rain",
    "ratchet wrench",
    "rhinoceros snorting",
    "rooster crowing",
    "skateboard",
    "telephone ringing",
    "tuba",
)
FACES = {
    "burping",
    "coughing",
    "gasping",
    "people laughing",
    "people screaming",
    "person crying",
    "sighing",
    "sneezing",
    "snoring",
    "whistling",
    "yawning",
}
SHARED = {
    "person speaking": FACES,
    "airplane flying": {"fighter jet"},
    "motorboat": {"ship horn"},
    "rain": {"thunder"},
}
CROPS = 4
SMOOTHING = 0.1
WEIGHT_DECAY = 1e-3
STEPS = 60


def free_features(
    photos: list[Photo], extract: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[Photo, Tensor]]:
    """Read the photos that rows may be learnt from, with features [5, 1280] of their crops.

    Args:
        extract: pixels [B, 3, 224, 224] uint8 to features [B, 1280].
    """
    usable = [photo for photo in photos if photo.free and set(photo.labels) == {"train"}]
    return [(photo, torch.from_numpy(extract(_crops(photo)))) for photo in usable]


def learn_rows(
    samples: list[tuple[Photo, Tensor]], rows: list[str], without: Collection[str] = ()
) -> tuple[Tensor, Tensor]:
    """Rows [E, 1280] and [E]; the network and its 1000 rows stay as they are.

    Args:
        without: labels whose photos are not shown at all, for measurements.
    """
    head = ClassifierNetwork(torch.zeros(0, FEATURES), torch.zeros(0)).head
    features, owners = [], []
    for photo, crops in samples:
        labels = photo.labels["train"] - set(without)
        if labels:
            own = tuple(
                i for i, row in enumerate(rows) if labels & ({row} | SHARED.get(row, set()))
            )
            features.append(crops)
            owners += [own or min(labels)] * len(crops)
    joined = torch.cat(features)
    fixed = head(joined)  # [n, 1000]
    return _fit(joined, fixed, _targets(fixed, owners, len(rows)), _importance(owners))


def _crops(photo: Photo) -> np.ndarray:
    """Cut the central square and random ones, [5, 3, 224, 224]; half of those are mirrored.

    A random crop's side is 0.6 to 1 of the short side.
    """
    rng = random.Random(photo.name)
    image = to_rgb(Image.open(photo.path))
    views = [centre_crop(image)]
    for _ in range(CROPS):
        side = min(image.size) * rng.uniform(0.6, 1.0)
        left, top = (rng.uniform(0, extent - side) for extent in image.size)
        pixels = crop(image, (left, top, left + side, top + side))
        views.append(pixels[:, :, ::-1] if rng.random() < 0.5 else pixels)
    return np.stack(views)


def _targets(fixed: Tensor, owners: list[tuple[int, ...] | str], count: int) -> Tensor:
    """Target distributions [n, 1000 + E], smoothed.

    A photo of a row's label belongs to the row; any other photo keeps what ImageNet's rows say, so
    that the new rows learn to stay out of it.
    """
    total = IMAGENET_CLASSES + count
    target = F.pad(torch.softmax(fixed, dim=-1), (0, count))
    for index, own in enumerate(owners):
        if isinstance(own, tuple):
            target[index] = 0
            target[index, [IMAGENET_CLASSES + row for row in own]] = 1 / len(own)
    return (1 - SMOOTHING) * target + SMOOTHING / total


def _importance(owners: list[tuple[int, ...] | str]) -> Tensor:
    """Weights [n], sum 1: a label with four times the crops counts twice as much."""
    counts = Counter(owners)
    weights = torch.tensor([counts[own] ** -0.5 for own in owners])
    return weights / weights.sum()


def _fit(features: Tensor, fixed: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over all classes, convex in the new rows: [E, 1280] and [E]."""
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
