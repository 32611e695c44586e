"""The compact separation network of the `mini` models: a residual U-Net on 4x4 patches.

It has the interface of the published U-Net: spectrogram to hidden state, hidden state and query weights to
mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.network import SeparationNetwork
from clipsep.models.networks.slots import Slots


class PatchUNet(SeparationNetwork):
    """Residual U-Net that works on patches of the spectrogram, so that its arithmetic stays dense.

    Folding 4x4 patches into channels first and unfolding them at the end keeps every convolution at
    1/16 of the positions: a narrow network at full resolution would wait for memory instead.

    Args:
        widths: channels per level; each level halves the positions of the one before.
        blocks: residual blocks per level on each side; the innermost level has twice as many.
        feature_channels: K.
        n_bands: F; each row of patches has a learnt offset, because pitch is not shift-invariant.
        patch: side of a patch, in bands and frames.
        attention: transformer blocks at the innermost level, where every position sees the whole segment.
        gated_head: beside the dot product, the query gates the features and adds a second, non-linear part
            to the logits. It costs about a hundredth of the network for each query.
        film_decoder: let the query scale and shift the channels of the innermost level and the decoder
            (FiLM, Perez et al., 2018), so that it decides what is decoded and not only how the features
            add up. Each query then costs a pass of the decoder. At first, steering changes nothing.
        slots: masks that look for the sounds of a mixture without being asked, and that help the queries to
            find theirs; not with a FiLM decoder.
        slot_steps: how often slots and queries are changed by what their masks take.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 192, 256),
        blocks: int = 1,
        feature_channels: int = 32,
        n_bands: int = 256,
        patch: int = 4,
        *,
        attention: int = 0,
        gated_head: bool = False,
        film_decoder: bool = False,
        slots: int = 0,
        slot_steps: int = 4,
    ):
        super().__init__()
        self.patch = patch
        self.film_decoder = film_decoder
        self.stride = patch * 2 ** (len(widths) - 1)
        self.input_norm = nn.BatchNorm2d(1)
        self.stem = nn.Conv2d(patch**2, widths[0], 3, padding=1)
        self.frequency_offset = nn.Parameter(torch.zeros(1, widths[0], n_bands // patch, 1))
        pairs = list(pairwise(widths))
        steering = feature_channels if film_decoder else None
        self.encoder = nn.ModuleList(_Blocks(width, blocks) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(outer, inner, 2, stride=2) for outer, inner in pairs)
        self.bottom = _Blocks(widths[-1], 2 * blocks, steering)
        self.up = nn.ModuleList(nn.Conv2d(inner, outer, 1) for outer, inner in reversed(pairs))
        self.decoder = nn.ModuleList(
            _Blocks(width, blocks, steering) for width in reversed(widths[:-1])
        )
        rows = n_bands // self.stride
        self.attention = nn.ModuleList(_Attention(widths[-1], rows) for _ in range(attention))
        self.head = nn.Conv2d(widths[0], feature_channels * patch**2, 1)
        self.gate = _GatedHead(widths[0], feature_channels, patch**2) if gated_head else None
        self.slots = Slots(widths[0], feature_channels, slots, slot_steps) if slots else None

    def forward(self, log_magnitude: torch.Tensor) -> list[torch.Tensor]:
        """[B, 1, F, T] to what the decoder needs of it: the hidden states of all levels, outermost first.

        Returns:
            [B, widths[i], F / patch / 2**i, T / patch / 2**i]; with slots, the loudness comes first,
            [B, patch**2, F / patch, T / patch].
        """
        patches = F.pixel_unshuffle(self.input_norm(log_magnitude), self.patch)
        loudness = [F.pixel_unshuffle(log_magnitude, self.patch).exp()] if self.slots else []
        patches = patches.contiguous(memory_format=torch.channels_last)
        hidden = F.relu(self.stem(patches) + self.frequency_offset)
        levels = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            hidden = encode(hidden)
            levels.append(hidden)
            hidden = F.relu(down(hidden))
        if not self.film_decoder:
            hidden = self._innermost(hidden)
        return [*loudness, *levels, hidden]

    def mask_logits(self, hidden: list[torch.Tensor], query_weights: torch.Tensor) -> torch.Tensor:
        """Multiply the features [B, K, F, T] with query weights [B or 1, N, K]: [B, N, F, T].

        With a FiLM decoder the features are each query's own, so the result is not linear in the weights.
        """
        if not self.film_decoder:
            loudness = hidden[0] if self.slots else None
            return self.project(self.decode(hidden), query_weights, loudness)
        n_queries, batch = query_weights.shape[1], hidden[0].shape[0]
        each = query_weights.expand(batch, -1, -1).transpose(0, 1).flatten(0, 1)  # [N * B, K]
        decoded = self.decode([_repeat(level, n_queries) for level in hidden], each)
        return (
            self.project(decoded, each[:, None])
            .unflatten(0, (n_queries, batch))[:, :, 0]
            .transpose(0, 1)
        )

    def decode(
        self, levels: list[torch.Tensor], steering: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Levels of the encoder to the hidden state before the head, [B, widths[0], F / patch, T / patch].

        Args:
            steering: query weights [B, K] for a FiLM decoder.
        """
        *skips, hidden = levels
        if self.film_decoder:
            hidden = self._innermost(hidden, steering)
        for up, decode in zip(self.up, self.decoder, strict=True):
            # The 1x1 convolution commutes with nearest up-sampling and is four times cheaper before it.
            hidden = F.interpolate(up(hidden), scale_factor=2, mode="nearest")
            hidden = decode(F.relu(hidden + skips.pop()), steering)
        return hidden

    def _innermost(
        self, hidden: torch.Tensor, steering: torch.Tensor | None = None
    ) -> torch.Tensor:
        hidden = self.bottom(hidden, steering)
        for attend in self.attention:
            hidden = attend(hidden)
        return hidden

    def project(
        self, hidden: torch.Tensor, weights: torch.Tensor, loudness: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Multiply the features of decoded positions with query weights.

        The query is folded into the head, so that the features themselves are never made: that leaves
        patch**2 instead of K * patch**2 channels per query.

        Args:
            hidden: what `decode` gives, [B, widths[0], H, W], or some of its positions.
            weights: [B or 1, N, K].
            loudness: of all positions, [B, patch**2, H, W], as `forward` gives it with slots, which then
                change the weights; None to take them as they are.

        Returns:
            [B, N, H * patch, W * patch].
        """
        positions = _positions(hidden)
        if loudness is None:
            return self._unfolded(self._folded(positions, weights), hidden)
        assert self.slots is not None
        weights = weights.expand(positions.shape[0], -1, -1)
        logits_of = partial(self._folded, positions)
        folded = self.slots(positions[..., :-1], _share(loudness), weights, logits_of)
        return self._unfolded(folded, hidden)

    def seek(
        self, hidden: torch.Tensor, weights: torch.Tensor, loudness: torch.Tensor
    ) -> list[torch.Tensor]:
        """As `project` with slots, after each step and with the masks of the slots, for training.

        Returns:
            [B, slots + N, H * patch, W * patch] for each step.
        """
        assert self.slots is not None
        positions = _positions(hidden)
        weights = weights.expand(positions.shape[0], -1, -1)
        logits_of = partial(self._folded, positions)
        every = self.slots.every_step(positions[..., :-1], _share(loudness), weights, logits_of)
        return [self._unfolded(folded, hidden) for folded in every]

    def _folded(
        self, positions: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of positions, [B, P, C + 1] to [B, N, P, pixels], and what to add to them, [B, N]."""
        assert self.head.bias is not None
        kernel = torch.cat([self.head.weight.flatten(1), self.head.bias[:, None]], 1)
        kernel = kernel.unflatten(0, (-1, self.patch**2))  # [K, pixels, C + 1]
        kernel = torch.einsum("bnk,kpc->bncp", weights, kernel)
        if bias is not None:
            kernel = kernel + F.pad(bias[..., None, None], (0, 0, kernel.shape[2] - 1, 0))
        logits = positions[:, None] @ kernel
        if self.gate is not None:
            logits = logits + self.gate(positions, weights)
        return logits

    def _unfolded(self, folded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of positions, [B, N, P, pixels], to those of bands and frames."""
        squares = folded.unflatten(2, hidden.shape[2:]).unflatten(4, (self.patch, self.patch))
        return squares.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _positions(hidden: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] to [B, H * W, C + 1]: the last channel is 1, so that a kernel can have an offset."""
    # With the channels last, as the hidden state lies in memory; so does its gradient then.
    return F.pad(hidden.permute(0, 2, 3, 1).flatten(1, 2), (0, 1), value=1.0)


def _share(loudness: torch.Tensor) -> torch.Tensor:
    """Loudness [B, pixels, H, W] to each pixel's share of it, [B, H * W, pixels]."""
    loudness = loudness.permute(0, 2, 3, 1).flatten(1, 2)
    return loudness / (loudness.sum(dim=(1, 2), keepdim=True) + 1e-6)


def _repeat(x: torch.Tensor, times: int) -> torch.Tensor:
    if torch.compiler.is_exporting():
        return x.repeat(times, 1, 1, 1)  # for any number of times, which stays open in the export
    # Unlike other ways to repeat, cat keeps the channels last.
    return torch.cat([x] * times)


class _GatedHead(nn.Module):
    """Features that the query scales, shifts and rectifies, to one logit for each pixel of a patch."""

    def __init__(self, width: int, feature_channels: int, pixels: int):
        super().__init__()
        self.features = nn.Linear(width, feature_channels)
        self.shift = nn.Linear(feature_channels, feature_channels)
        self.logits = nn.Linear(feature_channels, pixels, bias=False)

    def forward(self, positions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Positions [B, P, C + 1] and query weights [B or 1, N, K] to [B, N, P, pixels]."""
        # Query weights are folded into the features' kernel, as into the head's: one product, no copies.
        kernel = torch.cat([self.features.weight, self.features.bias[:, None]], 1)
        kernel = weights[..., None] * kernel  # [B, N, K, C + 1]
        kernel = kernel + F.pad(self.shift(weights)[..., None], (kernel.shape[3] - 1, 0))
        return self.logits(F.relu(positions[:, None] @ kernel.mT))


class _Attention(nn.Module):
    """A transformer block over all positions of a map, [B, width, H, W] to the same shape.

    Frequency has a learnt position; time has none but what convolutions see, so any length goes.
    """

    def __init__(self, width: int, rows: int, head_width: int = 32):
        super().__init__()
        self.heads = max(1, width // head_width)
        self.row = nn.Parameter(torch.zeros(1, width, rows, 1))
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = (x + self.row).permute(0, 2, 3, 1).flatten(1, 2)  # [B, H * W, width]
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            *qkv.unbind(0)
        )  # [B, heads, H * W, width / heads]
        x = x + self.merge(attended.transpose(1, 2).flatten(2))
        x = x + self.contract(F.gelu(self.expand(self.norm2(x))))
        return x.unflatten(1, size).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """relu(x + BN(conv(relu(BN(conv(x)))))), where a query may scale and shift what the norms give.

    Args:
        steering: K, size of the query weights; None for a block that no query steers.
    """

    def __init__(self, width: int, steering: int | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.steering = None
        if steering is not None:
            self.steering = nn.Linear(steering, 4 * width)
            nn.init.zeros_(self.steering.weight)
            nn.init.zeros_(self.steering.bias)

    def forward(self, x: torch.Tensor, steering: torch.Tensor | None = None) -> torch.Tensor:
        """[B, width, H, W] to the same shape."""
        if self.steering is None:
            inner = F.relu(self.norm1(self.conv1(x)))
            return F.relu(x + self.norm2(self.conv2(inner)))
        scale1, shift1, scale2, shift2 = self.steering(steering)[..., None, None].chunk(4, dim=1)
        inner = F.relu(torch.addcmul(shift1, self.norm1(self.conv1(x)), 1 + scale1))
        return F.relu(x + torch.addcmul(shift2, self.norm2(self.conv2(inner)), 1 + scale2))


class _Blocks(nn.ModuleList):
    """Residual blocks in a row, all steered by the query or none."""

    def __init__(self, width: int, count: int, steering: int | None = None):
        super().__init__(ResidualBlock(width, steering) for _ in range(count))

    def forward(self, x: torch.Tensor, steering: torch.Tensor | None = None) -> torch.Tensor:
        for block in self:
            x = block(x, steering)
        return x
