"""The one place that turns model settings into modules."""

from __future__ import annotations

from typing import Any

from clipsep.errors import ClipsepError
from clipsep.models.baselines import LabelSep, PITSep
from clipsep.models.clipsep import CLIPSep
from clipsep.models.network import SeparationModel, SeparationNetwork
from clipsep.models.networks.patch_unet import PatchUNet
from clipsep.models.networks.unet import UNet
from clipsep.models.settings import SHIPPED_NETWORKS, ModelSettings, OwnNetworkSettings
from clipsep.plugins import NETWORKS, load_plugin


def build_model(settings: ModelSettings, n_bands: int = 256) -> SeparationModel:
    """Build a model with fresh random weights."""
    network = _build_network(settings, n_bands)
    if settings.kind == "pit":
        return PITSep(network, settings.feature_channels)
    query: dict[str, Any] = {
        "feature_channels": settings.feature_channels,
        "noise_heads": settings.noise_heads,
        "query_activation": settings.query_activation,
        "normalize_query": settings.normalize_query,
        "query_hidden": settings.query_hidden,
    }
    if settings.kind == "labelsep":
        return LabelSep(network, settings.n_labels, settings.query_dim, **query)
    return CLIPSep(network, settings.query_dim, **query)


def _build_network(settings: ModelSettings, n_bands: int) -> SeparationNetwork:
    network = settings.network
    if isinstance(network, OwnNetworkSettings):
        return _own_network(network, settings.feature_channels, n_bands)
    if network.kind == "unet":
        return UNet(network.num_downs, network.width, settings.feature_channels)
    return PatchUNet(
        network.widths,
        network.blocks,
        settings.feature_channels,
        n_bands,
        network.patch,
        attention=network.attention,
        gated_head=network.gated_head,
        film_decoder=network.film_decoder,
        slots=network.slots,
        slot_steps=network.slot_steps,
    )


def _own_network(
    settings: OwnNetworkSettings, feature_channels: int, n_bands: int
) -> SeparationNetwork:
    """Build a network of another package, held to the interface that the models use.

    Raises:
        UsageError, ClipsepError: if it is not there, cannot be made, or is not such a network.
    """
    cls = load_plugin(NETWORKS, settings.kind, SHIPPED_NETWORKS)
    if not (isinstance(cls, type) and issubclass(cls, SeparationNetwork)):
        raise ClipsepError(
            f"The network '{settings.kind}' is not a subclass of clipsep.models.network.SeparationNetwork."
        )
    try:
        network = cls(feature_channels=feature_channels, n_bands=n_bands, **settings.options)
    except Exception as error:  # whatever somebody's code raises
        raise ClipsepError(f"The network '{settings.kind}' cannot be made: {error}.") from error
    stride = getattr(network, "stride", None)
    if stride != settings.stride:
        raise ClipsepError(
            f"The network '{settings.kind}' has the stride {stride}: set model.network.stride to it."
        )
    return network
