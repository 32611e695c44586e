"""Slots: the sounds of a mixture, looked for without being asked for, and queries that look at them.

As in MaskFormer (Cheng et al., 2021) and slot attention (Locatello et al., 2020), what belongs together is
found first, and then what it is called: the features of one recording say more about which of them are of
one sound than about the name of that sound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Seekers(NamedTuple):
    """Slots, and after them queries, in a mixture.

    Attributes:
        state: what they have seen, [B, N, D].
        weights: of the features in their masks, [B, N, K].
        bias: of the logits of their masks, [B, N].
    """

    state: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor


class Slots(nn.Module):
    """Moves the weights of some slots, and of any queries, by what their masks take, step by step.

    Queries see the slots, but slots see no queries, and queries not each other. At first, queries stay
    as they are.

    Args:
        width: C, channels of the decoded positions.
        feature_channels: K.
        count: S, slots.
        steps: how often.
        state: D, units of a slot's state.
    """

    def __init__(self, width: int, feature_channels: int, count: int, steps: int, state: int = 64):
        super().__init__()
        self.count = count
        self.first_state = nn.Parameter(torch.randn(count, state) * 0.5)
        self.first_weights = nn.Parameter(torch.randn(count, feature_channels) * 0.3)
        self.know = nn.Linear(feature_channels, state)
        self.norm = nn.LayerNorm(width)
        self.steps = nn.ModuleList(_Step(width, feature_channels, state) for _ in range(steps))

    def forward(
        self,
        positions: torch.Tensor,
        loudness: torch.Tensor,
        weights: torch.Tensor,
        logits_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Logits of queries after the last step.

        Args:
            positions: decoded, [B, P, C].
            loudness: of their pixels, [B, P, pixels]; its sum over all is 1.
            weights: of the queries, [B, N, K].
            logits_of: multiplies features with weights [B, N, K] and adds a bias [B, N]: [B, N, P, pixels].

        Returns:
            [B, N, P, pixels].
        """
        _, last = self._seek(positions, loudness, weights, logits_of)
        return logits_of(last.weights[:, self.count :], last.bias[:, self.count :])

    def every_step(
        self,
        positions: torch.Tensor,
        loudness: torch.Tensor,
        weights: torch.Tensor,
        logits_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> list[torch.Tensor]:
        """As `forward`, of slots and queries after each step, [B, S + N, P, pixels]."""
        (_, *every), last = self._seek(positions, loudness, weights, logits_of)
        return [*every, logits_of(last.weights, last.bias)]

    def _seek(
        self,
        positions: torch.Tensor,
        loudness: torch.Tensor,
        weights: torch.Tensor,
        logits_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> tuple[list[torch.Tensor], Seekers]:
        """Logits of slots and queries before each step, and what they are after the last."""
        batch, n_queries = weights.shape[:2]
        seekers = Seekers(
            torch.cat([self.first_state.expand(batch, -1, -1), self.know(weights)], 1),
            torch.cat([self.first_weights.expand(batch, -1, -1), weights], 1),
            weights.new_zeros(batch, self.count + n_queries),
        )
        seen = self.norm(positions)
        every = []
        for step in self.steps:
            every.append(logits_of(seekers.weights, seekers.bias))
            seekers = step(seekers, positions, seen, loudness, every[-1], self.count)
        return every, seekers


class _Step(nn.Module):
    """What masks take and leave, the loudest of what is sought, and the slots: all change the state."""

    def __init__(self, width: int, feature_channels: int, state: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.inside, self.outside = nn.LayerNorm(width), nn.LayerNorm(width)
        self.see = nn.Linear(2 * width + feature_channels + 2, state)
        self.norm_seek, self.norm_compare, self.norm_think = (nn.LayerNorm(state) for _ in range(3))
        self.seek, self.found = nn.Linear(state, width), nn.Linear(width, state)
        self.compare, self.compared = nn.Linear(state, 3 * state), nn.Linear(state, state)
        self.expand, self.contract = nn.Linear(state, 2 * state), nn.Linear(2 * state, state)
        self.move_slots = nn.Linear(state, feature_channels + 1)
        self.move_queries = nn.Linear(state, feature_channels + 1)
        nn.init.zeros_(self.move_queries.weight)
        nn.init.zeros_(self.move_queries.bias)

    def forward(
        self,
        seekers: Seekers,
        positions: torch.Tensor,
        seen: torch.Tensor,
        loudness: torch.Tensor,
        logits: torch.Tensor,
        slots: int,
    ) -> Seekers:
        state, weights, bias = seekers
        taken = self._taken(positions, loudness, logits, weights)
        state = state + self.see(taken)
        loud = (loudness.sum(-1) + 1e-6).log()[:, None]  # [B, 1, P]
        likeness = self.seek(self.norm_seek(state)) @ seen.mT / seen.shape[-1] ** 0.5
        state = state + self.found((likeness + loud).softmax(-1) @ seen)
        state = state + self._of_slots(self.norm_compare(state), slots)
        state = state + self.contract(F.gelu(self.expand(self.norm_think(state))))
        moved = torch.cat(
            [self.move_slots(state[:, :slots]), self.move_queries(state[:, slots:])], 1
        )
        return Seekers(state, weights + moved[..., :-1], bias + moved[..., -1])

    def _taken(
        self,
        positions: torch.Tensor,
        loudness: torch.Tensor,
        logits: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Describe what masks take and leave, [B, N, ...]."""
        mask = logits.sigmoid()  # [B, N, P, pixels]
        taken = mask * loudness[:, None]
        doubtless = (taken * mask).sum(dim=(2, 3))[..., None]  # [B, N, 1]
        taken = taken.sum(-1)  # [B, N, P]
        left = loudness.sum(-1)[:, None] - taken
        share = taken.sum(-1, keepdim=True)
        inside = taken @ positions / (share + 1e-6)
        outside = left @ positions / (1 - share + 1e-6)
        known = [self.inside(inside), self.outside(outside), weights, 2 * share - 1]
        return torch.cat([*known, 8 * (share - doubtless) - 1], dim=-1)

    def _of_slots(self, state: torch.Tensor, slots: int) -> torch.Tensor:
        """Attention of each slot and query to all slots and to itself."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.compare(state).chunk(3, dim=-1)
        )  # [B, heads, S + N, D / heads]
        to_slots = query @ key[:, :, :slots].mT  # [B, heads, S + N, S]
        to_itself = (query * key).sum(-1, keepdim=True)
        share = (torch.cat([to_slots, to_itself], -1) / query.shape[-1] ** 0.5).softmax(-1)
        mixed = share[..., :slots] @ value[:, :, :slots] + share[..., slots:] * value
        return self.compared(mixed.transpose(1, 2).flatten(2))
