"""Tiny networks with random weights in double precision, and weights under the published names."""

from __future__ import annotations

import torch
from torch import nn

from clipsep.models.networks.patch_unet import PatchUNet
from clipsep.models.networks.unet import UNet

FEATURES = 5  # K
N_BANDS = 32  # F
NETWORKS = ("unet", "patch_unet", "film_decoder", "slots")


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Large random weights and normalisation statistics, so that no term is too small to be seen."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.3, generator=generator)
    return module


def make_network(kind: str) -> UNet | PatchUNet:
    """In evaluation mode and double precision."""
    if kind == "unet":
        network = UNet(num_downs=5, width=2, feature_channels=FEATURES)
    else:
        network = PatchUNet(
            (6, 8),
            feature_channels=FEATURES,
            n_bands=N_BANDS,
            film_decoder=kind == "film_decoder",
            slots=3 if kind == "slots" else 0,
        )
    return randomize(network).double().eval()


def spectrogram(batch: int = 2, frames: int = 32, seed: int = 1) -> torch.Tensor:
    """[batch, 1, N_BANDS, frames]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, N_BANDS, frames, generator=generator, dtype=torch.float64)


def random(*shape: int, seed: int = 2) -> torch.Tensor:
    """Standard normal, double precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def published_model(
    num_downs: int = 5,
    width: int = 1,
    features: int = 4,
    query_dim: int = 512,
    noise_heads: int = 0,
    n_labels: int = 0,
) -> nn.Module:
    """A module whose state dict has the names and shapes of a published CLIPSep, NIT or LabelSep."""
    sound_net = nn.Module()
    sound_net.bn0 = nn.BatchNorm2d(1)
    sound_net.unet_block = _block(0, num_downs, width, features)
    model = nn.Module()
    model.sound_net = sound_net
    model.frame_net = nn.Linear(query_dim, features)
    model.synth_net = nn.Module()
    model.synth_net.scale = nn.Parameter(torch.ones(features))
    model.synth_net.bias = nn.Parameter(torch.zeros(1))
    if noise_heads:
        model.pit_nets = nn.ModuleList(nn.Linear(features, features) for _ in range(noise_heads))
    if n_labels:
        model.label_net = nn.Embedding(n_labels, query_dim)
    return model


def _block(level: int, num_downs: int, width: int, features: int) -> nn.Module:
    """Level ``level`` of the published U-Net with all levels inside; layers without weights are empty."""
    inner = width * 2 ** min(level, 3)
    outer = width * 2 ** min(level - 1, 3) if level else 1
    down = nn.Conv2d(outer, inner, 4, bias=False)
    block, nothing = nn.Module(), nn.Identity()
    if level == 0:
        up = nn.Conv2d(2 * inner, features, 3)
        layers = [down, _block(1, num_downs, width, features), nothing, nothing, up]
    elif level == num_downs - 1:
        up = nn.Conv2d(inner, outer, 3, bias=False)
        layers = [nothing, down, nothing, nothing, up, nn.BatchNorm2d(outer)]
    else:
        up = nn.Conv2d(2 * inner, outer, 3, bias=False)
        norms = nn.BatchNorm2d(inner), nn.BatchNorm2d(outer)
        sub = _block(level + 1, num_downs, width, features)
        layers = [nothing, down, norms[0], sub, nothing, nothing, up, norms[1]]
    block.model = nn.Sequential(*layers)
    return block
