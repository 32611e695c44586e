"""The paper's baselines that need a module of their own; the others are settings of CLIPSep."""

from __future__ import annotations

import torch
from torch import nn

from clipsep.models.clipsep import CLIPSep, MaskLogits
from clipsep.models.network import SeparationModel, SeparationNetwork


class LabelSep(CLIPSep):
    """Supervised baseline: the query is a row of a learnt label table instead of an embedding.

    Its query encoder gives one-hot vectors [n_labels], so it is called like CLIPSep.

    Args:
        n_labels: rows of the table.
        label_dim: D of the table's rows (512 as published).
        kwargs: see `CLIPSep`.
    """

    def __init__(self, network: SeparationNetwork, n_labels: int, label_dim: int = 512, **kwargs):
        super().__init__(network, query_dim=label_dim, **kwargs)
        self.label_table = nn.Parameter(torch.randn(n_labels, label_dim))

    def project(self, query: torch.Tensor) -> torch.Tensor:
        """One-hot labels [..., n_labels] to query projections before the activation, [..., K]."""
        return super().project(query @ self.label_table)


class PITSep(SeparationModel):
    """Label-free baseline: two masks without a query, trained over permutations (Yu et al., 2017).

    Args:
        network: see `CLIPSep`.
        feature_channels: K, as the network's.
        n_sources: N, the number of masks.
    """

    def __init__(self, network: SeparationNetwork, feature_channels: int = 32, n_sources: int = 2):
        super().__init__()
        self.network = network
        self.masks = nn.Linear(feature_channels, n_sources)
        nn.init.normal_(self.masks.weight, 0.0, 1e-3)  # a 1 x 1 convolution, as published

    def forward(self, log_magnitude: torch.Tensor, query: torch.Tensor | None = None) -> MaskLogits:
        """[B, 1, F, T] to the logits of N masks [B, N, F, T]; a query is ignored."""
        return MaskLogits(self.query_logits(log_magnitude, query), None)

    def query_logits(
        self, log_magnitude: torch.Tensor, query: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `forward`, without the wrapping."""
        hidden = self.network(log_magnitude)
        logits = self.network.mask_logits(hidden, self.masks.weight[None])
        return logits + self.masks.bias[:, None, None]
