"""A separation network of one's own: dilated convolutions at a quarter of the resolution."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.network import SeparationNetwork


class DilatedNetwork(SeparationNetwork):
    """Residual convolutions whose dilation doubles, so that few layers see a second of sound.

    clipsep asks for the two methods below, for the attribute ``stride``, and for a class that takes
    ``feature_channels`` and ``n_bands`` beside the options of the config.

    Args:
        feature_channels: K, the size of a query's weights.
        n_bands: F; not needed here, where all bands are treated alike.
        width: channels.
        layers: the last one reaches 2 ** (layers - 1) * 4 bands and frames to each side.
    """

    stride = 4  # F and T must be multiples of it

    def __init__(self, feature_channels: int, n_bands: int, width: int = 32, layers: int = 6):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.stem = nn.Conv2d(self.stride**2, width, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=2**level, dilation=2**level)
            for level in range(layers)
        )
        self.head = nn.Conv2d(width, feature_channels * self.stride**2, 1)

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """[B, 1, F, T] to whatever `mask_logits` needs; here the features, [B, K, F, T]."""
        hidden = F.relu(self.stem(F.pixel_unshuffle(self.norm(log_magnitude), self.stride)))
        for layer in self.layers:
            hidden = hidden + F.relu(layer(hidden))
        return F.pixel_shuffle(self.head(hidden), self.stride)

    def mask_logits(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Mask logits [B, N, F, T] of query weights [B or 1, N, K]."""
        return torch.einsum("bnk,bkft->bnft", weights, features)
