"""What a separation network has to do; `CLIPSep` and the baselines work with any that does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn


class SeparationNetwork(nn.Module, ABC):
    """Spectrogram to hidden state, hidden state and query weights to mask logits.

    The two steps are apart so that one pass of `forward` serves any number of queries, and so that a
    network need not make its features [B, K, F, T] where few queries are multiplied with them.

    Attributes:
        stride: F and T must be multiples of it.
    """

    stride: int

    @abstractmethod
    def forward(self, log_magnitude: torch.Tensor) -> Any:
        """Log-magnitude [B, 1, F, T] to whatever `mask_logits` needs of it."""

    @abstractmethod
    def mask_logits(self, hidden: Any, query_weights: torch.Tensor) -> torch.Tensor:
        """Dot product of the features with query weights.

        Args:
            hidden: what `forward` returned.
            query_weights: [B, N, K], or [1, N, K] for the same queries on the whole batch.

        Returns:
            [B, N, F, T].
        """


def channels_last(module: nn.Module) -> nn.Module:
    """Lay out the weights of a module as convolutions work fastest on a CPU, and return it."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


class SeparationModel(nn.Module, ABC):
    """What is trained, stored and run: a network and what its masks depend on.

    Attributes:
        network: what makes features of the spectrogram.
    """

    network: SeparationNetwork

    @abstractmethod
    def query_logits(self, log_magnitude: torch.Tensor, query: torch.Tensor | None) -> torch.Tensor:
        """Logits of masks at test time, [B, 1, F, T] to [B, N, F, T].

        Args:
            log_magnitude: the mixture's, [B, 1, F, T].
            query: embeddings [B or 1, N, D]; None for a model without queries.
        """
