"""The published separation network, rebuilt from its description as a yardstick of speed.

Nothing here is shared with the package but the weights.
"""

from __future__ import annotations

import torch
from torch import nn

from clipsep.models.networks.unet import UNet


class PublishedUNet(nn.Module):
    """The sound network as a stack of standard layers, every map enlarged before its convolution."""

    def __init__(self, num_downs: int = 7, width: int = 64, features: int = 32):
        super().__init__()
        sizes = [width * min(2**level, 8) for level in range(num_downs)]
        self.input_norm = nn.BatchNorm2d(1)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, size in enumerate(sizes):
            outer = sizes[level - 1] if level else 1
            outermost, innermost = level == 0, level == num_downs - 1
            down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2, inplace=True)]
            down.append(nn.Conv2d(outer, size, 4, stride=2, padding=1, bias=False))
            if not outermost and not innermost:
                down.append(nn.BatchNorm2d(size))
            up = [
                nn.ReLU(inplace=True),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(
                    size if innermost else 2 * size,
                    features if outermost else outer,
                    3,
                    padding=1,
                    bias=outermost,
                ),
            ]
            if not outermost:
                up.append(nn.BatchNorm2d(outer))
            self.downs.append(nn.Sequential(*down))
            self.ups.insert(0, nn.Sequential(*up))

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """[B, 1, F, T] to features [B, K, F, T]."""
        x = self.input_norm(log_magnitude)
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.ups[0](skips.pop())
        for up in self.ups[1:]:
            x = up(torch.cat([skips.pop(), x], dim=1))
        return x

    def copy_weights(self, network: UNet) -> None:
        """Take over the weights of the package's network."""
        ours = [*network.down_convs, *network.up_convs, network.head]
        norms = [network.input_norm, *network.down_norms, *network.up_norms]
        for kind, sources in ((nn.Conv2d, ours), (nn.BatchNorm2d, norms)):
            targets = [module for module in self.modules() if isinstance(module, kind)]
            for target, source in zip(targets, sources, strict=True):
                target.load_state_dict(source.state_dict())
