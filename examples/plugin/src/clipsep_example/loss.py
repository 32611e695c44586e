"""A loss of one's own: the distance between masked and target magnitudes."""

from __future__ import annotations

import torch

from clipsep.models.clipsep import MaskLogits
from clipsep.training.losses import Loss, Targets


def magnitude_loss(logits: MaskLogits, targets: Targets, power: float = 1.0) -> Loss:
    """Mean of |m X - t X| ** power over all sources, bands and frames, X compressed by log(1 + x).

    Args:
        logits: of the queries [B, N, F, T]; those of noise heads are None without such heads.
        targets: see `clipsep.training.losses.Targets`.
        power: an option of the config, ``loss.options.power``.
    """
    mask = torch.sigmoid(logits.query.float())
    return Loss(((mask - targets.mask).abs() * targets.weight).pow(power).mean())
