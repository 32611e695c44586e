"""The one place that turns model settings into modules."""

from __future__ import annotations

from torch import nn

from clipsep.models.baselines import LabelSep, PITSep
from clipsep.models.clipsep import CLIPSep
from clipsep.models.network import SeparationNetwork
from clipsep.models.patch_unet import PatchUNet
from clipsep.models.settings import ModelSettings
from clipsep.models.unet import UNet


def build_model(settings: ModelSettings, n_bands: int = 256) -> nn.Module:
    """A model with fresh random weights."""
    network = _build_network(settings, n_bands)
    if settings.kind == "pit":
        return PITSep(network, settings.feature_channels)
    query = {
        "feature_channels": settings.feature_channels,
        "noise_heads": settings.noise_heads,
        "query_activation": settings.query_activation,
        "normalize_query": settings.normalize_query,
    }
    if settings.kind == "labelsep":
        return LabelSep(network, settings.n_labels, settings.query_dim, **query)
    return CLIPSep(network, settings.query_dim, **query)


def _build_network(settings: ModelSettings, n_bands: int) -> SeparationNetwork:
    network = settings.network
    if network.kind == "unet":
        return UNet(network.num_downs, network.width, settings.feature_channels)
    return PatchUNet(
        network.widths,
        network.blocks,
        settings.feature_channels,
        n_bands,
        network.patch,
        network.film_decoder,
    )
