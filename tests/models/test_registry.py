"""Model settings reach the model that is built from them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from clipsep.errors import UsageError
from clipsep.models.baselines import LabelSep, PITSep
from clipsep.models.clipsep import CLIPSep
from clipsep.models.networks.patch_unet import PatchUNet
from clipsep.models.networks.unet import UNet
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings, UNetSettings

SMALL = UNetSettings(num_downs=5, width=1)


def count(settings: ModelSettings) -> int:
    return sum(parameter.numel() for parameter in build_model(settings).parameters())


def test_defaults_are_the_published_sizes():
    """30 290 659 parameters of CLIPSep, 30 292 771 of CLIPSep-NIT (meta device: shapes only)."""
    with torch.device("meta"):
        assert count(ModelSettings()) == 30_290_659
        assert count(ModelSettings(noise_heads=2)) == 30_292_771


@pytest.mark.parametrize("network", [SMALL, PatchUNetSettings(widths=(2, 2, 2), patch=2)])
def test_settings_know_the_stride_of_their_network(network: UNetSettings | PatchUNetSettings):
    assert network.stride == build_model(ModelSettings(network=network)).network.stride


def test_kinds():
    assert type(build_model(ModelSettings(network=SMALL))) is CLIPSep
    assert type(build_model(ModelSettings(network=SMALL, kind="pit"))) is PITSep
    labels = build_model(ModelSettings(network=SMALL, kind="labelsep", n_labels=3, query_dim=6))
    assert type(labels) is LabelSep and labels.label_table.shape == (3, 6)


def test_networks():
    unet = build_model(ModelSettings(network=SMALL, feature_channels=7)).network
    assert type(unet) is UNet and unet.stride == 32 and unet.head.out_channels == 7
    settings = PatchUNetSettings(widths=(4, 6), blocks=2, patch=2)
    patch = build_model(ModelSettings(network=settings, feature_channels=7), n_bands=16).network
    assert type(patch) is PatchUNet and patch.stride == 4 and len(patch.encoder[0]) == 2
    assert patch.frequency_offset.shape == (1, 4, 8, 1)


@pytest.mark.parametrize("kind", ["clipsep", "labelsep"])
def test_query_settings(kind: str):
    common = {"kind": kind, "network": SMALL, "query_dim": 3, "n_labels": 2}
    plain = build_model(ModelSettings(**common))
    other = build_model(
        ModelSettings(**common, normalize_query=True, query_activation="none", noise_heads=2)
    )
    query = torch.tensor([[2.0, 0.0]]) if kind == "labelsep" else torch.tensor([[2.0, 0.0, 1.0]])
    assert not torch.allclose(plain.project(query), plain.project(2 * query), atol=1e-6)
    torch.testing.assert_close(other.project(query), other.project(2 * query))
    values = torch.tensor([-3.0, 3.0])
    assert torch.equal(plain.activation(values), values.sigmoid())
    assert torch.equal(other.activation(values), values)
    assert len(plain.noise_projections) == 0 and len(other.noise_projections) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"colour": "blue"},
        {"kind": "other"},
        {"network": {"kind": "unet", "widths": [1]}},
        {"network": {"kind": "unet", "num_downs": 4}},
        {"network": {"kind": "patch_unet", "widths": [4, 0]}},
        {"network": {"kind": "patch_unet", "film_decoder": True, "slots": 4}},
        {"feature_channels": 0},
    ],
)
def test_settings_that_no_model_has(settings: dict):
    with pytest.raises(ValidationError):
        ModelSettings.model_validate(settings)


def test_a_network_that_no_package_provides_is_refused():
    settings = ModelSettings.model_validate({"network": {"kind": "other", "stride": 4}})
    with pytest.raises(UsageError, match="other"):
        build_model(settings)
