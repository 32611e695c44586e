"""CLIPSep: a separation network whose mask is the dot product of its features with the query.

One module and one forward serve training, evaluation and inference. Signal processing, the masks'
activation and the loss are outside.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.network import SeparationModel, SeparationNetwork
from clipsep.models.transforms import apply_mask, log_magnitude, stft
from clipsep.spectral import SpectralSettings


class MaskLogits(NamedTuple):
    """Logits of the masks.

    Attributes:
        query: logits of the queries' masks, [B, N, F, T].
        noise: logits of the noise heads' masks, [B, H, F, T]; None without.
    """

    query: torch.Tensor
    noise: torch.Tensor | None = None


class CLIPSep(SeparationModel):
    """Text- or image-queried mask prediction (Dong et al., 2023, late fusion).

    Args:
        network: what makes features of the spectrogram.
        query_dim: D, size of the query embedding.
        feature_channels: K, as the network's.
        noise_heads: H; 2 for noise invariant training (CLIPSep-NIT), else 0. They serve training only.
        query_activation: what follows the query projection, ``sigmoid`` as published or ``none``.
        normalize_query: scale query embeddings to unit length first (as published: no).
        query_hidden: hidden units of the query projection, which then is a multi-layer perceptron; 0 for
            a linear projection, as published.
    """

    def __init__(
        self,
        network: SeparationNetwork,
        query_dim: int = 512,
        feature_channels: int = 32,
        noise_heads: int = 0,
        query_activation: str = "sigmoid",
        normalize_query: bool = False,
        query_hidden: int = 0,
    ):
        super().__init__()
        self.network = network
        self.normalize_query = normalize_query
        self.activation = torch.sigmoid if query_activation == "sigmoid" else nn.Identity()
        self.query_projection = _projection(query_dim, query_hidden, feature_channels)
        self.noise_projections = nn.ModuleList(
            nn.Linear(feature_channels, feature_channels) for _ in range(noise_heads)
        )
        self.scale = nn.Parameter(torch.ones(feature_channels))
        self.bias = nn.Parameter(torch.zeros(1))
        if query_activation == "sigmoid":
            projections = [self.query_projection, *self.noise_projections]
            for part in (part for p in projections for part in p.modules()):
                if isinstance(part, nn.Linear):
                    nn.init.normal_(part.weight, 0.0, 1e-4)

    def forward(self, log_magnitude: torch.Tensor, query: torch.Tensor) -> MaskLogits:
        """Mask logits for N queries of one mixture, from one pass of the network.

        Args:
            log_magnitude: the mixture's, [B, 1, F, T].
            query: query embeddings, [B, N, D], or [1, N, D] for the same queries on the whole batch.

        Returns:
            logits of the query masks [B, N, F, T]; with noise heads also theirs, which depend on the
            mean of the mixture's query projections.
        """
        hidden = self.network(log_magnitude)
        projection = self.project(query)  # [B, N, K]
        weights = [self.activation(projection)]
        if self.noise_projections:
            mean = projection.mean(dim=1)
            weights.append(
                torch.stack([self.activation(p(mean)) for p in self.noise_projections], 1)
            )
        joined = torch.cat(weights, dim=1) * self.scale
        logits = self.network.mask_logits(hidden, joined) + self.bias
        if not self.noise_projections:
            return MaskLogits(logits)
        return MaskLogits(*logits.split([part.shape[1] for part in weights], dim=1))

    def query_logits(self, log_magnitude: torch.Tensor, query: torch.Tensor | None) -> torch.Tensor:
        """`forward` at test time: the noise heads are left out. [B, 1, F, T] to [B, N, F, T]."""
        assert query is not None
        weights = self.query_weights(query)
        return self.network.mask_logits(self.network(log_magnitude), weights) + self.bias

    def noise_logits(
        self, log_magnitude: torch.Tensor, query: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of queries, and of the noise heads given each query alone, as published at test time.

        Args:
            log_magnitude: [B, 1, F, T].
            query: [B or 1, N, D].

        Returns:
            [B, N, F, T] and [B, N, H, F, T].
        """
        projection = self.project(query)  # [B, N, K]
        rows = [projection, *(p(projection) for p in self.noise_projections)]
        weights = self.activation(torch.stack(rows, dim=2)) * self.scale  # [B, N, 1 + H, K]
        hidden = self.network(log_magnitude)
        logits = self.network.mask_logits(hidden, weights.flatten(1, 2)) + self.bias
        logits = logits.unflatten(1, weights.shape[1:3])
        return logits[:, :, 0], logits[:, :, 1:]

    def query_weights(self, query: torch.Tensor) -> torch.Tensor:
        """Query embeddings [..., D] to what features are multiplied with, [..., K]."""
        return self.activation(self.project(query)) * self.scale

    def project(self, query: torch.Tensor) -> torch.Tensor:
        """Query embeddings [..., D] to query projections before the activation, [..., K]."""
        if self.normalize_query:
            query = F.normalize(query, dim=-1)
        return self.query_projection(query)


def _projection(query_dim: int, hidden: int, feature_channels: int) -> nn.Module:
    if not hidden:
        return nn.Linear(query_dim, feature_channels)
    return nn.Sequential(
        nn.LayerNorm(query_dim, elementwise_affine=False),
        nn.Linear(query_dim, hidden),
        nn.GELU(),
        nn.Linear(hidden, feature_channels),
    )


class WaveformSeparator(nn.Module):
    """A model from waveform to waveforms, differentiable, for training inside other code.

    It works at the model's sample rate on one channel and on the whole waveform at once; for recordings
    of any kind and length use `clipsep.Separator`.

    Args:
        model: a checkpoint's, ``load_checkpoint(name).model``.
        settings: its ``config.spectral``.
        stride: frames are padded to a multiple of it; ``config.model.network.stride``.
    """

    def __init__(self, model: SeparationModel, settings: SpectralSettings, stride: int):
        super().__init__()
        self.model, self.settings, self.stride = model, settings, stride

    def forward(self, waveform: torch.Tensor, query: torch.Tensor | None) -> torch.Tensor:
        """Separate mixtures [B, T] by query embeddings [B, N, D]: estimates [B, N, T]."""
        samples, hop = waveform.shape[-1], self.settings.hop_length
        frames = samples // hop + 1
        missing = -frames % self.stride * hop
        spectrum = stft(F.pad(waveform, (0, missing)), self.settings.n_fft, hop)  # [B, F, frames]
        logits = self.model.query_logits(log_magnitude(spectrum, self.settings)[:, None], query)
        return apply_mask(spectrum[:, None], logits.sigmoid(), self.settings, samples)
