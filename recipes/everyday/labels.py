"""Two more losses for recordings with labels: of each mixture, they ask for many labels instead of three.

A mask says something about the two or three sounds that a mixture is asked for. That most other labels are
not in it is known, too, and costs little to ask: once, where the network sees most and in coarse squares;
and by the masks themselves, at some places. Nothing of this is part of the model.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from recipes.everyday.scenes import Scene

_PLACES = 32  # patches of each mixture at which masks for absent sounds are looked at


class LabelMap(nn.Module):
    """Tells from the innermost level of a network where which of all labels sound.

    Args:
        width: channels of that level.
        query_hidden: hidden units of the model's query projection, from which labels are told apart.
    """

    def __init__(self, width: int, query_hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(query_hidden, width)
        self.scale = nn.Parameter(torch.tensor(0.05))
        self.bias = nn.Parameter(torch.tensor(-5.0))  # few labels sound

    def forward(self, innermost: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """[B, width, H, W] and labels [L, query_hidden] to logits [B, L, H, W]."""
        likeness = self.norm(innermost.permute(0, 2, 3, 1)) @ self.classify(labels).T
        return (likeness * self.scale + self.bias).permute(0, 3, 1, 2)


def label_map_cost(logits: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Cross-entropy with each label's share of the energy: a sum over labels, a mean over the map.

    Labels that may sound without being asked for do not count.

    Args:
        logits: [B, L, H, W].
    """
    targets = scene.targets
    pool = partial(F.avg_pool2d, kernel_size=targets.power.shape[-1] // logits.shape[-1])
    share = (pool(targets.cross) / (pool(targets.power) + 1e-9)).clamp(0, 1)  # [B, N, H, W]
    there = scene.there.float()
    place = scene.label[:, :, None, None].expand_as(share)
    wanted = torch.zeros_like(logits, dtype=share.dtype)
    wanted = wanted.scatter_add(1, place, share * there[:, :, None, None]).clamp(max=1)
    asked = torch.zeros_like(scene.absent, dtype=there.dtype).scatter_add(1, scene.label, there) > 0
    loud = pool(targets.weight)
    loud = loud / (loud.mean(dim=(2, 3), keepdim=True) + 1e-6)
    cost = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (cost * loud * (asked | scene.absent)[:, :, None, None]).sum(dim=1).mean()


def absent_cost(logits: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Cross-entropy of masks that should be empty, the mean over those that certainly should.

    Args:
        logits: of the masks for ``scene.others``, [B, K, F', T'].
    """
    absent = scene.absent[:, scene.others].float()
    cost = F.softplus(logits.float()).mean(dim=(2, 3))
    return (cost * absent).sum() / absent.sum().clamp(min=1)


def at_loud_places(hidden: torch.Tensor, power: torch.Tensor, patch: int) -> torch.Tensor:
    """Take some positions of a hidden state, the louder the more often: [B, C, 1, places]."""
    power = F.avg_pool2d(power, patch).flatten(1)
    chance = power / (power.sum(dim=1, keepdim=True) + 1e-9) + 0.2 / power.shape[1]
    place = torch.multinomial(chance, _PLACES, replacement=True)
    positions = hidden.permute(0, 2, 3, 1).flatten(1, 2)
    taken = positions.gather(1, place[:, :, None].expand(-1, -1, positions.shape[2]))
    return taken[:, None].permute(0, 3, 1, 2)
