"""3x3 convolution of a bilinearly enlarged map that mixes channels before it enlarges.

The results are those of the two steps one after the other.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

# Longest side for which `upsampled_conv2d` builds matrices, whose size grows with its square.
_LONGEST_SIDE = 256


class UpsampledConv2d(nn.Conv2d):
    """Twofold bilinear enlargement (``align_corners``), then a 3x3 convolution with zero padding.

    Along an axis of n positions, let U [2n, n] enlarge and S_i [2n, 2n] move by one position, i = 0, 1, 2
    standing for the rows above, at and below the kernel's centre; what moves in from outside is the
    padding's zero. Then, for the map x_c [H, W] of each input channel,

        y_o = sum_ij S_i U (sum_c w_ocij x_c) U' S_j'

    because enlarging and moving act on positions alone and mixing on channels alone, and both are
    linear. So the channels are mixed first, nine times over but at a quarter of the positions, and the
    constant matrices A_i = S_i U then enlarge, move and add the nine maps: first along the rows,
    sum_j z_ij A_j', then along the columns, sum_i A_i t_i.

    Per input position and output channel, that takes 9 C multiplications to mix and 18 W + 12 H to
    enlarge, instead of 36 C in all.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, out_channels, 2 H, 2 W]."""
        if not self._mixes_first(x):
            return super().forward(_enlarge(x))
        batch, channels, height, width = x.shape
        # Channels are the last axis throughout: one product each mixes them, goes along rows, and columns.
        kernels = self.weight.permute(3, 2, 0, 1).reshape(-1, channels)  # [3 (j) 3 (i) out, C]
        mixed = F.linear(x.permute(0, 2, 3, 1), kernels)  # [B, H, W, 3 (j) 3 (i) out]
        rows = _matrix(width, x) @ mixed.reshape(batch * height, 3 * width, -1)
        rows = rows.view(batch, height, 2 * width, 3, -1).transpose(2, 3)  # [B, H, 3 (i), 2 W, out]
        y = _matrix(height, x) @ rows.reshape(batch, 3 * height, -1)
        y = y.view(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _mixes_first(self, x: torch.Tensor) -> bool:
        """Whether mixing first is the faster way.

        It is where enlarging costs at most as much as mixing, so that at most half of the multiplications
        remain. GPUs compute convolutions at a higher rate than matrix products in single precision
        (PyTorch allows TF32 in the former only), so there it was left out.
        """
        if torch.compiler.is_exporting():
            return False  # an exported graph keeps the two steps, which every runtime knows
        channels, height, width = x.shape[1:]
        return x.device.type == "cpu" and 18 * width + 12 * height <= 9 * channels


def upsampled_conv2d(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Do what `UpsampledConv2d` does, for few output channels and kernels of each item's own.

    Here the nine small maps of an output channel are laid out as one block matrix Z [3 H, 3 W] with
    blocks sum_c w_ocij x_c, and y_o = [A_0 A_1 A_2] Z [A_0 A_1 A_2]'.

    Args:
        x: [B, C, H, W].
        kernels: [B, N, C, 3, 3].

    Returns:
        [B, N, 2 H, 2 W].
    """
    batch, channels, height, width = x.shape
    if max(height, width) > _LONGEST_SIDE:
        items = zip(_enlarge(x).split(1), kernels, strict=True)
        return torch.cat([F.conv2d(item, kernel, padding=1) for item, kernel in items])
    mixing = kernels.permute(0, 1, 3, 4, 2).reshape(batch, -1, channels)  # [B, N 3 (i) 3 (j), C]
    positions = x.permute(0, 2, 3, 1).reshape(batch, -1, channels)  # [B, H W, C]
    maps = (mixing @ positions.mT).view(-1, 3, 3, height, width)  # [B N, i, j, H, W]
    blocks = maps.permute(0, 3, 1, 4, 2).reshape(-1, 3 * width)  # [B N H 3 (i), W 3 (j)]
    rows = (blocks @ _matrix(width, x).T).view(-1, 3 * height, 2 * width)
    return (_matrix(height, x) @ rows).view(batch, -1, 2 * height, 2 * width)


def _enlarge(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _matrix(size: int, like: torch.Tensor) -> torch.Tensor:
    return _moved_enlargements(size, like.dtype, like.device)


@lru_cache(maxsize=32)
def _moved_enlargements(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A_0, A_1 and A_2 for an axis of ``size`` positions, column by column: [2 size, size 3]."""
    # Made by inference mode, they could not serve in training afterwards.
    with torch.inference_mode(False), torch.no_grad():
        ones = torch.eye(size, dtype=torch.float64)[None]
        enlarge = F.interpolate(ones, scale_factor=2, mode="linear", align_corners=True)[0].T
        padded = F.pad(enlarge, (0, 0, 1, 1))  # zero padding above and below
        moved = torch.stack([padded[i : i + 2 * size] for i in range(3)], dim=-1)
        return moved.flatten(1).to(device, dtype)
