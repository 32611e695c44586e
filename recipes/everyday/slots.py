"""What the slots of a network learn from: each sound of a mixture is to be found by one of them."""

from __future__ import annotations

from itertools import permutations

import torch

from recipes.everyday.scenes import Scene


def slot_cost(logits: torch.Tensor, scene: Scene) -> torch.Tensor:
    """-SDR in bel of the best assignment of slots to the sounds that are asked for, the mean over sounds.

    Slots that are left over cost nothing: they may take a bed, noise, or a sound that nobody asks for.

    Args:
        logits: of the slots' masks, [B, S, F, T], at least as many as the scene has queries.
    """
    power, cross, energy = scene.targets.power, scene.targets.cross, scene.targets.energy
    mask = logits.float().sigmoid()
    taken = (power * mask.square()).sum(dim=(2, 3))  # [B, S]
    common = torch.einsum("bsft,bnft->bsn", mask, cross)
    error = (taken[:, :, None] - 2 * common + energy[:, None]).clamp(min=0)
    reference = energy + 0.01 * power.sum(dim=(2, 3)) + 1e-8
    cost = torch.log10(error / reference[:, None] + 1e-3) * scene.there[:, None]  # [B, S, N]
    n_slots, n_sounds = cost.shape[1:]
    orders = torch.tensor(list(permutations(range(n_slots), n_sounds)), device=cost.device)
    each = cost[:, orders, torch.arange(n_sounds, device=cost.device)]  # [B, orders, N]
    best = each.sum(dim=2).amin(dim=1)
    return best.sum() / scene.there.sum().clamp(min=1)
