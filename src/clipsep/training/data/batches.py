"""Mixtures as training gets them: one, and a batch of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate


class MixtureItem(NamedTuple):
    """The sources of one mixture and their queries.

    Attributes:
        sources: float32 [N, samples], already divided by N; the mixture is their sum. With
            `MixingSettings.extra_source_prob` rows follow for the extra sources, or for silence; with
            `MixingSettings.augment` a last one for what the recorder adds.
        clip_query: the query of each source, mean embedding of its frames or one of audio, float32 [N, D].
        label: index of each source's label, int64 [N]; -1 if it has none.
        position: place of the mixture in its data set.
    """

    sources: np.ndarray
    clip_query: np.ndarray
    label: np.ndarray
    position: int


class MixtureBatch(NamedTuple):
    """B mixtures as tensors: `MixtureItem` with a batch dimension in front.

    Attributes:
        sources: float32 [B, N or more, samples].
        clip_query: float32 [B, N, D].
        label: int64 [B, N].
        position: int64 [B].
    """

    sources: torch.Tensor
    clip_query: torch.Tensor
    label: torch.Tensor
    position: torch.Tensor


def collate(items: list[MixtureItem]) -> MixtureBatch:
    """Stack mixtures of the same shape; the ``collate_fn`` of every loader of mixtures."""
    return MixtureBatch(*default_collate(items))
