"""Laws of CLIPSep: how queries become masks."""

from __future__ import annotations

import pytest
import torch

from clipsep.models.clipsep import CLIPSep, WaveformSeparator
from clipsep.spectral import SpectralSettings
from tests.helpers.networks import (
    FEATURES,
    N_BANDS,
    NETWORKS,
    make_network,
    random,
    randomize,
    spectrogram,
)

DIM = 7  # D
CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def make_model(kind: str = "unet", **settings) -> CLIPSep:
    model = CLIPSep(make_network(kind), DIM, FEATURES, **settings)
    return randomize(model).double().eval()


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_a_query_projection_may_have_a_hidden_layer(activation: str):
    model = make_model(query_hidden=5, query_activation=activation)
    assert model(spectrogram(1), random(1, 2, DIM)).query.isfinite().all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_one_pass_with_many_queries_equals_many_passes(kind: str):
    model, mixture, query = make_model(kind), spectrogram(2), random(2, 3, DIM)
    passes = []
    model.network.register_forward_hook(lambda *_: passes.append(1))
    together = model(mixture, query).query
    assert len(passes) == 1
    for n in range(3):
        alone = model(mixture, query[:, [n]]).query
        torch.testing.assert_close(together[:, [n]], alone, **CLOSE)


@pytest.mark.parametrize("kind", NETWORKS)
def test_shared_queries_equal_repeated_ones(kind: str):
    model, mixture, query = make_model(kind, noise_heads=2), spectrogram(3), random(1, 2, DIM)
    shared, repeated = model(mixture, query), model(mixture, query.expand(3, -1, -1))
    torch.testing.assert_close(shared.query, repeated.query, **CLOSE)
    torch.testing.assert_close(shared.noise, repeated.noise, **CLOSE)
    torch.testing.assert_close(model.query_logits(mixture, query), repeated.query, **CLOSE)


def test_logits_are_affine_in_the_query_without_activation():
    model = make_model(query_activation="none")
    mixture, one, other = spectrogram(2), random(2, 1, DIM, seed=5), random(2, 1, DIM, seed=6)
    between = model(mixture, 0.3 * one + 0.7 * other).query
    expected = 0.3 * model(mixture, one).query + 0.7 * model(mixture, other).query
    torch.testing.assert_close(between, expected, **CLOSE)
    assert (model(mixture, one).query - model(mixture, other).query).std() > 0.01


def test_published_activation_is_a_sigmoid_then_scale_and_bias():
    model, mixture, query = make_model(), spectrogram(2), random(2, 1, DIM)
    projection = query @ model.query_projection.weight.T + model.query_projection.bias
    weights = model.scale / (1 + (-projection).exp())
    expected = model.network.mask_logits(model.network(mixture), weights) + model.bias
    torch.testing.assert_close(model(mixture, query).query, expected, **CLOSE)


def test_noise_heads_see_the_mean_projection_and_share_scale_and_bias():
    model, mixture, query = make_model(noise_heads=2), spectrogram(2), random(2, 2, DIM)
    logits = model(mixture, query)
    swapped = model(mixture, query.flip(1))
    torch.testing.assert_close(swapped.noise, logits.noise, **CLOSE)
    torch.testing.assert_close(swapped.query, logits.query.flip(1), **CLOSE)
    mean = model.project(query).mean(dim=1)
    for index, head in enumerate(model.noise_projections):
        weights = head(mean).sigmoid()[:, None] * model.scale
        expected = model.network.mask_logits(model.network(mixture), weights) + model.bias
        torch.testing.assert_close(logits.noise[:, [index]], expected, **CLOSE)


def test_noise_heads_do_not_change_query_masks():
    model, mixture, query = make_model(noise_heads=2), spectrogram(2), random(2, 2, DIM)
    expected = model(mixture, query).query
    torch.testing.assert_close(model.query_logits(mixture, query), expected, **CLOSE)


def test_normalised_queries_have_no_length():
    mixture, query = spectrogram(2), random(2, 2, DIM)
    plain, normalised = make_model(), make_model(normalize_query=True)
    expected = normalised(mixture, query).query
    torch.testing.assert_close(normalised(mixture, 5 * query).query, expected, **CLOSE)
    unit = query / query.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(plain(mixture, unit).query, expected, **CLOSE)
    assert (plain(mixture, 5 * query).query - plain(mixture, query).query).abs().max() > 1e-3


def test_published_init_starts_without_preference():
    """Scale 1, bias 0 and tiny projections: every query starts with nearly the same mask."""
    model = CLIPSep(make_network("unet"), 512, FEATURES, noise_heads=2)
    assert torch.equal(model.scale, torch.ones(FEATURES))
    assert torch.equal(model.bias, torch.zeros(1))
    for linear in (model.query_projection, *model.noise_projections):
        assert 0 < linear.weight.std() < 3e-4


def test_waveforms_in_waveforms_out_with_gradients():
    """As long as the mixture, all of it where masks are open, and differentiable in all three inputs."""
    settings = SpectralSettings(n_bands=N_BANDS, segment_frames=32, log_floor=1e-4)
    model = CLIPSep(make_network("patch_unet"), 3, FEATURES, query_activation="none").float()
    separator = WaveformSeparator(model, settings, stride=8).eval()
    mixture, query = (random(*shape).float().requires_grad_() for shape in ((2, 5000), (2, 3, 3)))
    estimates = separator(mixture, query)
    assert estimates.shape == (2, 3, 5000)
    estimates.square().sum().backward()
    for tensor in (mixture, query, *separator.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    with torch.no_grad():
        model.bias += 1e3
    everything = separator(mixture, query)
    torch.testing.assert_close(
        everything, mixture[:, None].expand_as(everything), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("level", ["absolute", "relative"])
def test_silence_has_gradients_that_are_finite(level):
    """Zeros fill up batches of unequal lengths; their root has no derivative of its own."""
    settings = SpectralSettings(n_bands=N_BANDS, segment_frames=32, log_floor=1e-4, level=level)
    model = CLIPSep(make_network("patch_unet"), 3, FEATURES, query_activation="none").float()
    mixture = torch.cat([random(2, 2500).float(), torch.zeros(2, 2500)], dim=1)
    mixture[1] = 0
    mixture.requires_grad_()
    separator = WaveformSeparator(model, settings, stride=8).eval()
    separator(mixture, random(2, 3, 3).float()).square().sum().backward()
    assert mixture.grad.isfinite().all() and mixture.grad[0].any()
