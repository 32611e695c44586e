"""Laws of the separation networks: features, folded dot products and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.networks.patch_unet import PatchUNet
from clipsep.models.networks.unet import UNet
from tests.helpers.networks import (
    FEATURES,
    N_BANDS,
    NETWORKS,
    make_network,
    random,
    randomize,
    spectrogram,
)

CLOSE = {"atol": 1e-9, "rtol": 1e-9}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> UNet | PatchUNet:
    return make_network(request.param)


@pytest.fixture(params=("unet", "patch_unet"))
def linear_network(request: pytest.FixtureRequest) -> UNet | PatchUNet:
    return make_network(request.param)


def explicit_features(network: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """The K feature maps [B, K, F, T] that `mask_logits` folds away."""
    if isinstance(network, PatchUNet):
        return F.pixel_shuffle(network.head(network.decode(hidden)), network.patch)
    return network.head(hidden)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n_queries", [1, 2, 4])
def test_dot_equals_product_with_explicit_features(linear_network, batch: int, n_queries: int):
    hidden = linear_network(spectrogram(batch))
    features = explicit_features(linear_network, hidden)
    assert features.shape == (batch, FEATURES, N_BANDS, 32)
    weights = random(batch, n_queries, FEATURES)
    expected = torch.einsum("bnk,bkft->bnft", weights, features)
    assert expected.std() > 0.01
    torch.testing.assert_close(linear_network.mask_logits(hidden, weights), expected, **CLOSE)


@pytest.mark.parametrize("n_queries", [1, 4])
def test_shared_queries_equal_repeated_ones(network, n_queries: int):
    hidden = network(spectrogram(3))
    shared = random(1, n_queries, FEATURES)
    expected = network.mask_logits(hidden, shared.expand(3, -1, -1))
    torch.testing.assert_close(network.mask_logits(hidden, shared), expected, **CLOSE)


def test_dot_is_linear_in_the_weights(linear_network):
    hidden = linear_network(spectrogram(2))
    one, other = random(2, 3, FEATURES, seed=5), random(2, 3, FEATURES, seed=6)
    combined = linear_network.mask_logits(hidden, 2.0 * one - 3.0 * other)
    expected = 2.0 * linear_network.mask_logits(hidden, one) - 3.0 * linear_network.mask_logits(
        hidden, other
    )
    torch.testing.assert_close(combined, expected, **CLOSE)


def test_queries_of_a_mixture_do_not_mix(network):
    hidden = network(spectrogram(3))
    weights = random(3, 4, FEATURES)
    together = network.mask_logits(hidden, weights)
    assert together.shape == (3, 4, N_BANDS, 32)
    for number in range(4):
        alone = network.mask_logits(hidden, weights[:, [number]])
        torch.testing.assert_close(together[:, [number]], alone, **CLOSE)


def test_steering_starts_without_effect_and_then_changes_what_is_decoded():
    plain = make_network("patch_unet")
    steered = PatchUNet((6, 8), feature_channels=FEATURES, n_bands=N_BANDS, film_decoder=True)
    steered.load_state_dict(plain.state_dict(), strict=False)
    steered = steered.double().eval()
    mixture, weights = spectrogram(2), random(2, 3, FEATURES)
    expected = plain.mask_logits(plain(mixture), weights)
    torch.testing.assert_close(steered.mask_logits(steered(mixture), weights), expected, **CLOSE)
    randomize(steered.bottom[0].steering)
    levels = steered(mixture)
    one, other = (steered.decode(levels, weights[:, number]) for number in (0, 1))
    assert (one - other).abs().max() > 1e-3


def slotted(plain: PatchUNet) -> PatchUNet:
    """The same network with slots that have learnt nothing yet."""
    network = PatchUNet((6, 8), feature_channels=FEATURES, n_bands=N_BANDS, slots=3, slot_steps=2)
    network.load_state_dict(plain.state_dict(), strict=False)
    return network.double().eval()


def test_slots_start_without_effect_on_queries_and_then_depend_on_the_mixture():
    plain = make_network("patch_unet")
    network = slotted(plain)
    mixture, weights = spectrogram(2), random(2, 3, FEATURES)
    expected = plain.mask_logits(plain(mixture), weights)
    torch.testing.assert_close(network.mask_logits(network(mixture), weights), expected, **CLOSE)
    randomize(network.slots)
    moved = network.mask_logits(network(mixture), weights) - expected
    assert moved.abs().max() > 1e-3


def test_queries_see_slots_and_themselves_alone():
    network = slotted(make_network("patch_unet"))
    randomize(network.slots)
    mixture, weights = spectrogram(2), random(2, 3, FEATURES)
    hidden = network(mixture)
    loudness, decoded = hidden[0], network.decode(hidden)
    together = network.seek(decoded, weights, loudness)[-1]
    alone = network.seek(decoded, weights[:, 1:2], loudness)[-1]
    torch.testing.assert_close(together[:, [0, 1, 2, 4]], alone, **CLOSE)
    torch.testing.assert_close(network.mask_logits(hidden, weights), together[:, 3:], **CLOSE)
    network.slots.first_weights.data[1] += 1
    assert (
        network.seek(decoded, weights, loudness)[-1][:, 3:] - together[:, 3:]
    ).abs().max() > 1e-4


def test_items_of_a_batch_do_not_mix_in_evaluation(network):
    mixtures, weights = spectrogram(3), random(1, 2, FEATURES)
    together = network.mask_logits(network(mixtures), weights)
    for index in range(3):
        alone = network.mask_logits(network(mixtures[[index]]), weights)
        torch.testing.assert_close(together[[index]], alone, **CLOSE)


def test_every_weight_moves_the_output(network):
    """A skip or level that is left out shows as a weight without gradient."""
    network.train()
    hidden = network(spectrogram(2, frames=64))
    weights = random(2, 3, FEATURES)
    if getattr(network, "slots", None):  # their last move serves their own masks alone
        output = network.seek(network.decode(hidden), weights, hidden[0])[-1]
    else:
        output = network.mask_logits(hidden, weights)
    (output * random(*output.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", NETWORKS)
def test_shortest_input_is_one_stride(kind: str):
    network = make_network(kind)
    hidden = network(spectrogram(1, frames=network.stride))
    output = network.mask_logits(hidden, random(1, 1, FEATURES))
    assert output.shape == (1, 1, N_BANDS, network.stride)


def test_patch_unet_moves_with_its_input_in_time():
    """Convolutions only: a mixture that starts one stride later gives masks one stride later."""
    network = make_network("patch_unet")
    start, shift = 64, network.stride
    mixture = F.pad(spectrogram(1, frames=32), (start, 96))
    later = F.pad(spectrogram(1, frames=32), (start + shift, 96 - shift))
    weights = random(1, 1, FEATURES)
    before, after = (network.mask_logits(network(x), weights) for x in (mixture, later))
    window = slice(start, start + 32)
    moved = slice(start + shift, start + shift + 32)
    torch.testing.assert_close(after[..., moved], before[..., window], **CLOSE)


def test_patch_unet_passes_detail_beside_its_inner_levels():
    """With the inner levels cut off, the output still depends on the input."""
    network = make_network("patch_unet")
    for up in network.up:
        nn.init.zeros_(up.weight)
    one, other = (network.decode(network(spectrogram(1, seed=seed))) for seed in (1, 2))
    assert (one - other).abs().max() > 1e-3


def test_patch_unet_tells_bands_apart():
    """Its learnt offset per row of patches: the same sound in another band is another sound."""
    network = make_network("patch_unet")
    constant = torch.ones(1, 1, N_BANDS, 64, dtype=torch.float64)
    rows = network.decode(network(constant))[
        0, :, 2:-2, 8
    ]  # away from the padding of time and frequency
    assert (rows[:, 1:] - rows[:, :-1]).abs().max() > 1e-3


@pytest.mark.parametrize("width", [2, 16])
def test_unet_is_the_published_stack_of_layers(width: int):
    """Features and gradients of every weight, where channels are mixed first and where they are not."""
    network = randomize(UNet(num_downs=5, width=width, feature_channels=FEATURES)).double()
    mixture = spectrogram(3, frames=64)
    results = []
    for features in (network.head(network(mixture)), published_features(network, mixture)):
        scale = features.detach().std()
        weights = network.parameters()
        gradients = torch.autograd.grad((features / scale).square().mean(), list(weights))
        results.append([features / scale, *gradients])
    for ours, published in zip(*results, strict=True):
        torch.testing.assert_close(ours, published, atol=1e-9, rtol=1e-7)


def published_features(network: UNet, mixture: torch.Tensor) -> torch.Tensor:
    """The published order of work, layer by layer: Zhao et al. (2018), as CLIPSep uses it."""

    def up(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
        enlarged = F.interpolate(x.relu(), scale_factor=2, mode="bilinear", align_corners=True)
        return F.conv2d(enlarged, conv.weight, conv.bias, padding=1)

    levels = [network.down_convs[0](network.input_norm(mixture))]
    for conv, norm in zip(network.down_convs[1:-1], network.down_norms, strict=True):
        levels.append(norm(conv(F.leaky_relu(levels[-1], 0.2))))
    hidden = network.down_convs[-1](F.leaky_relu(levels[-1], 0.2))
    for conv, norm, skip in zip(network.up_convs, network.up_norms, reversed(levels), strict=True):
        hidden = torch.cat([skip, norm(up(conv, hidden))], dim=1)
    return up(network.head, hidden)


def test_published_init_is_small_and_normalised():
    network = UNet(num_downs=5, width=8).requires_grad_(False)
    assert float(network.down_convs[3].weight.std()) == pytest.approx(1e-3, rel=0.05)
    norm = network.up_norms[0]
    assert float(norm.weight.mean()) == pytest.approx(1.0, abs=0.02)
    assert 0.01 < float(norm.weight.std()) < 0.03
    assert not norm.bias.any()
