"""The compact separation network of the `mini` models: a residual U-Net on 4x4 patches.

Same interface as the published U-Net: spectrogram to hidden state, hidden state dot query weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class PatchUNet(nn.Module):
    """Residual U-Net that works on patches of the spectrogram, so that its arithmetic stays dense.

    Folding 4x4 patches into channels first and unfolding them at the end keeps every convolution at
    1/16 of the positions: a narrow network at full resolution would wait for memory instead.

    Args:
        widths: channels per level; each level halves the positions of the one before.
        blocks: residual blocks per level on each side; the innermost level has twice as many.
        feature_channels: K.
        n_bands: F; each row of patches has a learnt offset, because pitch is not shift-invariant.
        patch: side of a patch, in bands and frames.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 192, 256),
        blocks: int = 1,
        feature_channels: int = 32,
        n_bands: int = 256,
        patch: int = 4,
    ):
        super().__init__()
        self.patch = patch
        self.stride = patch * 2 ** (len(widths) - 1)
        self.input_norm = nn.BatchNorm2d(1)
        self.stem = nn.Conv2d(patch**2, widths[0], 3, padding=1)
        self.frequency_offset = nn.Parameter(torch.zeros(1, widths[0], n_bands // patch, 1))
        pairs = list(pairwise(widths))
        self.encoder = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(outer, inner, 2, stride=2) for outer, inner in pairs)
        self.bottom = _blocks(widths[-1], 2 * blocks)
        self.up = nn.ModuleList(nn.Conv2d(inner, outer, 1) for outer, inner in reversed(pairs))
        self.decoder = nn.ModuleList(_blocks(width, blocks) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], feature_channels * patch**2, 1)

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """[B, 1, F, T] to the hidden state before the head, [B, widths[0], F / patch, T / patch]."""
        patches = F.pixel_unshuffle(self.input_norm(log_magnitude), self.patch)
        patches = patches.contiguous(memory_format=torch.channels_last)
        hidden = F.relu(self.stem(patches) + self.frequency_offset)
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            hidden = encode(hidden)
            skips.append(hidden)
            hidden = F.relu(down(hidden))
        hidden = self.bottom(hidden)
        for up, decode in zip(self.up, self.decoder, strict=True):
            # The 1x1 convolution commutes with nearest up-sampling and is four times cheaper before it.
            hidden = F.interpolate(up(hidden), scale_factor=2, mode="nearest")
            hidden = decode(F.relu(hidden + skips.pop()))
        return hidden

    def dot(self, hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Dot product of the features [B, K, F, T] with query weights [B or 1, N, K]: [B, N, F, T].

        The features themselves are never made: the query is folded into the head, which leaves
        patch**2 instead of K * patch**2 channels per query.
        """
        n_queries, pixels = weights.shape[1], self.patch**2
        kernel = self.head.weight.view(-1, pixels, self.head.in_channels)  # [K, pixels, C]
        kernel = torch.einsum("bnk,kpc->bnpc", weights, kernel).flatten(1, 2)
        bias = torch.einsum("bnk,kp->bnp", weights, self.head.bias.view(-1, pixels)).flatten(1)
        unfolded = kernel @ hidden.flatten(2) + bias[..., None]
        unfolded = unfolded.reshape(len(hidden), n_queries * pixels, *hidden.shape[2:])
        return F.pixel_shuffle(unfolded, self.patch)


class ResidualBlock(nn.Module):
    """relu(x + BN(conv(relu(BN(conv(x))))))."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, width, H, W] to the same shape."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(inner)))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
