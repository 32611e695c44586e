"""The published separation network: a U-Net over the log-frequency spectrogram (Dong et al., 2023).

It maps a spectrogram to features; a query only multiplies them.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.network import SeparationNetwork, channels_last
from clipsep.models.networks.upsampled_conv import UpsampledConv2d, upsampled_conv2d


class UNet(SeparationNetwork):
    """U-Net of strided 4x4 convolutions down and bilinear up-sampling with 3x3 convolutions.

    Source: sound network of Zhao et al., "The Sound of Pixels" (ECCV 2018), as used by CLIPSep.

    Args:
        num_downs: number of halvings; frequency bands and frames must be multiples of
            ``2 ** num_downs``.
        width: channels after the first halving; doubled three times, then constant.
        feature_channels: K.
    """

    def __init__(self, num_downs: int = 7, width: int = 64, feature_channels: int = 32):
        super().__init__()
        self.stride = 2**num_downs
        channels = [width * min(2**level, 8) for level in range(num_downs)]
        self.input_norm = nn.BatchNorm2d(1)
        self.down_convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=False)
            for c_in, c_out in zip([1, *channels[:-1]], channels, strict=True)
        )
        # The outermost and the innermost level have no normalisation on the way down.
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[1:-1])
        # On the way up, from the innermost level outwards; all but the first see a skip beside them.
        self.up_convs = nn.ModuleList(
            UpsampledConv2d(c_in * (1 if level == 0 else 2), c_out, bias=False)
            for level, (c_in, c_out) in enumerate(
                zip(channels[:0:-1], channels[-2::-1], strict=True)
            )
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[-2::-1])
        self.head = UpsampledConv2d(2 * width, feature_channels)
        self.apply(_init_as_published)
        channels_last(self)  # how the convolutions work fastest on a CPU

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """[B, 1, F, T] to the hidden state before the head, [B, 2 width, F / 2, T / 2]."""
        encoded, skips = self.input_norm(log_magnitude), []
        for conv, norm in zip(self.down_convs[:-1], [None, *self.down_norms], strict=True):
            down = conv(encoded)
            encoded = F.leaky_relu(norm(down) if norm else down, 0.2, inplace=True)
            skips.append(encoded)
        hidden = F.relu(self.down_convs[-1](encoded))
        for conv, norm in zip(self.up_convs, self.up_norms, strict=True):
            # ReLU makes the same of a leaky ReLU's output as of its input.
            hidden = F.relu(torch.cat([skips.pop(), norm(conv(hidden))], dim=1), inplace=True)
        return hidden

    def mask_logits(self, hidden: torch.Tensor, query_weights: torch.Tensor) -> torch.Tensor:
        """Multiply the features [B, K, F, T] with query weights.

        Few queries are folded into the last convolution, so that the K features are never made.

        Args:
            hidden: what `forward` returned.
            query_weights: [B, N, K], or [1, N, K] for the same queries on the whole batch.

        Returns:
            [B, N, F, T].
        """
        # An export, where their number is open, never folds them.
        if torch.compiler.is_exporting() or 2 * query_weights.shape[1] > self.head.out_channels:
            return torch.einsum("bnk,bkft->bnft", query_weights, self.head(hidden))
        kernels = torch.einsum("bnk,kcij->bncij", query_weights, self.head.weight)
        kernels = kernels.expand(hidden.shape[0], -1, -1, -1, -1)
        assert self.head.bias is not None
        bias = query_weights @ self.head.bias
        return upsampled_conv2d(hidden, kernels) + bias[..., None, None]


def _init_as_published(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 1e-3)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
