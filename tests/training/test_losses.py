"""Laws of the losses, against direct computation from their definitions."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from clipsep.models.clipsep import MaskLogits
from clipsep.models.transforms import from_bands, stft, to_bands
from clipsep.spectral import SpectralSettings
from clipsep.training.losses import (
    Targets,
    make_some_targets,
    make_targets,
    mask_loss,
    nit_loss,
    pit_loss,
    similarity_weight,
    with_absent_queries,
)
from tests.helpers.networks import random

SETTINGS = SpectralSettings(n_fft=128, hop_length=32, n_bands=16, segment_frames=8)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def make_spectra(batch: int = 3, sources: int = 2, seed: int = 0) -> torch.Tensor:
    """Complex [batch, sources, 65, 8]; the sources share no loudness, so that masks are not even."""
    waveform = random(batch, sources, SETTINGS.segment_samples, seed=seed).float()
    waveform *= 2.0 ** random(batch, sources, 1, seed=seed + 1).float()
    return stft(waveform, SETTINGS.n_fft, SETTINGS.hop_length)


def make_logits(batch: int = 3, masks: int = 2, noise: int = 2, scale: float = 1.5) -> MaskLogits:
    shape = (SETTINGS.n_bands, SETTINGS.segment_frames)
    query = scale * random(batch, masks, *shape, seed=7).float()
    heads = scale * random(batch, noise, *shape, seed=8).float()
    return MaskLogits(query, heads if noise else None)


def cross_entropy(
    probability: torch.Tensor, targets: Targets, source: int, item: int
) -> torch.Tensor:
    """Weighted binary cross-entropy of one mask [F, T], as the published code computes it."""
    return F.binary_cross_entropy(
        probability, targets.mask[item, source], targets.weight[item, 0], reduction="mean"
    )


def union(a: torch.Tensor, b: torch.Tensor, formula: str) -> torch.Tensor:
    if formula == "published":
        return 1 - F.relu(1 - (a + b))
    return 1 - (1 - a) * (1 - b)


# Targets


def test_targets_are_what_exceeds_half_of_the_mixture():
    spectra = make_spectra()
    targets = make_targets(spectra, SETTINGS)
    mixture = to_bands(spectra.sum(dim=1).abs(), SETTINGS)
    for source in range(2):
        alone = to_bands(spectra[:, source].abs(), SETTINGS)
        assert torch.equal(targets.mask[:, source].bool(), alone > 0.5 * mixture)
    weight = torch.log1p(mixture).clamp(1e-3, 10)
    torch.testing.assert_close(targets.weight[:, 0], weight, **CLOSE)


def test_weight_stays_between_its_limits():
    for level, expected in ((0.0, 1e-3), (1e6, 10.0)):
        targets = make_targets(level * make_spectra(1), SETTINGS)
        assert targets.weight.max() == pytest.approx(expected)


# Mask loss


def test_mask_loss_is_the_mean_cross_entropy():
    logits, targets = make_logits(noise=0), make_targets(make_spectra(), SETTINGS)
    expected = torch.stack(
        [
            cross_entropy(logits.query[item, source].sigmoid(), targets, source, item)
            for item in range(3)
            for source in range(2)
        ]
    ).mean()
    torch.testing.assert_close(mask_loss(logits, targets).total, expected, **CLOSE)


def sdr_term(query: torch.Tensor, targets: Targets) -> torch.Tensor:
    logits = MaskLogits(query, None)
    return mask_loss(logits, targets, 1.0).total - mask_loss(logits, targets, 0.0).total


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_sdr_term_is_exact_for_constant_masks(probability: float):
    """-SDR / 10 of the masked mixture's spectrum, up to the two terms that bound it."""
    spectra = make_spectra()
    mixture = spectra.sum(dim=1, keepdim=True)
    error = (spectra - probability * mixture).abs().square().sum(dim=(-2, -1))
    energy = spectra.abs().square().sum(dim=(-2, -1))
    reference = energy + 0.01 * mixture.abs().square().sum(dim=(-2, -1))
    expected = torch.log10(error / reference + 1e-3).mean()
    query = torch.full((3, 2, SETTINGS.n_bands, SETTINGS.segment_frames), probability).logit()
    term = sdr_term(query, make_targets(spectra, SETTINGS))
    torch.testing.assert_close(term, expected, atol=1e-4, rtol=0)
    # The bounds move a mask of ordinary quality by less than a decibel.
    torch.testing.assert_close(term, torch.log10(error / energy).mean(), atol=0.1, rtol=0)


def test_sdr_term_bounds_the_sdr_of_any_mask_from_below():
    spectra = make_spectra()
    logits = make_logits(noise=0)
    mixture = spectra.sum(dim=1, keepdim=True)
    estimate = from_bands(logits.query.sigmoid(), SETTINGS) * mixture
    error = (spectra - estimate).abs().square().sum(dim=(-2, -1))
    reference = spectra.abs().square().sum(dim=(-2, -1))
    reference = reference + 0.01 * mixture.abs().square().sum(dim=(-2, -1))
    exact = torch.log10(error / reference + 1e-3).mean()
    term = sdr_term(logits.query, make_targets(spectra, SETTINGS))
    assert exact <= term <= exact + 0.1


@pytest.mark.parametrize("gain", [0.01, 100.0])
def test_sdr_term_does_not_see_loudness(gain: float):
    spectra, logits = make_spectra(), make_logits(noise=0)

    def term(gain: float) -> float:
        targets = make_targets(gain * spectra, SETTINGS)
        with_term, without = (mask_loss(logits, targets, weight).total for weight in (1.0, 0.0))
        return float(with_term - without)

    assert term(gain) == pytest.approx(term(1.0), abs=1e-3)


def test_silent_sources_give_finite_losses_and_gradients():
    spectra = make_spectra()
    spectra[0] = 0
    spectra[1, 0] = 0
    targets = make_targets(spectra, SETTINGS)
    logits = make_logits(noise=2)
    query, noise = logits.query.requires_grad_(), logits.noise.requires_grad_()
    total = nit_loss(MaskLogits(query, noise), targets, union="either", sdr_weight=1.0).total
    total.backward()
    assert total.isfinite() and query.grad.isfinite().all() and noise.grad.isfinite().all()


# Permutation invariant training


def test_pit_loss_is_the_best_assignment_of_each_mixture():
    logits, targets = make_logits(noise=0), make_targets(make_spectra(), SETTINGS)
    p = logits.query.sigmoid()
    best = [
        min(
            sum(cross_entropy(p[item, mask], targets, n, item) for n, mask in enumerate(order)) / 2
            for order in permutations(range(2))
        )
        for item in range(3)
    ]
    torch.testing.assert_close(pit_loss(logits, targets).total, sum(best) / 3, **CLOSE)


def test_pit_loss_does_not_see_the_order_of_masks():
    logits, targets = make_logits(noise=0), make_targets(make_spectra(), SETTINGS)
    swapped = logits._replace(query=logits.query.flip(1))
    total = pit_loss(logits, targets).total
    torch.testing.assert_close(pit_loss(swapped, targets).total, total)
    plain = mask_loss(logits, targets).total, mask_loss(swapped, targets).total
    assert total <= min(plain) + 1e-6 and plain[0] != pytest.approx(float(plain[1]), rel=1e-3)


@pytest.mark.parametrize("clamp", ["none", "published"])
def test_pit_loss_of_masks_in_order_is_the_mask_loss(clamp: str):
    """With the limits of logarithms and the SDR term, which choose among the orders, too."""
    targets = make_targets(make_spectra(), SETTINGS)
    logits = make_logits(noise=0, scale=60.0)
    logits = logits._replace(query=logits.query + 200 * (2 * targets.mask - 1))
    swapped = logits._replace(query=logits.query.flip(1))
    plain = mask_loss(logits, targets, 0.3, clamp).total
    torch.testing.assert_close(pit_loss(swapped, targets, 0.3, clamp).total, plain, **CLOSE)
    wrong = logits._replace(query=-logits.query)
    costs = [float(pit_loss(wrong, targets, 0.3, each).total) for each in ("none", "published")]
    assert costs[1] < costs[0]
    assert pit_loss(wrong, targets, 0.3).total == pytest.approx(costs[0])
    assert float(pit_loss(wrong, targets).total) != pytest.approx(costs[0])


# Noise invariant training


@pytest.mark.parametrize("formula", ["published", "either"])
@pytest.mark.parametrize("heads", [2, 3])
def test_nit_loss_is_the_best_union_of_each_mixture(formula: str, heads: int):
    logits, targets = make_logits(noise=heads), make_targets(make_spectra(), SETTINGS)
    p, noise = logits.query.sigmoid(), logits.noise.sigmoid()
    best = [
        min(
            sum(
                cross_entropy(union(p[item, n], noise[item, head], formula), targets, n, item)
                for n, head in enumerate(order)
            )
            / 2
            for order in permutations(range(heads), 2)
        )
        for item in range(3)
    ]
    total = nit_loss(logits, targets, noise_weight=0.0, union=formula).total
    torch.testing.assert_close(total, sum(best) / 3, **CLOSE)


@pytest.mark.parametrize("formula", ["published", "either"])
@pytest.mark.parametrize("sdr_weight", [0.0, 0.3])
def test_nit_loss_without_noise_is_the_mask_loss(formula: str, sdr_weight: float):
    logits, targets = make_logits(), make_targets(make_spectra(), SETTINGS)
    assert logits.noise is not None
    closed = logits._replace(noise=torch.full_like(logits.noise, -40.0))
    expected = mask_loss(logits, targets, sdr_weight).total
    loss = nit_loss(closed, targets, union=formula, sdr_weight=sdr_weight)
    torch.testing.assert_close(loss.total, expected, **CLOSE)
    half = nit_loss(closed, targets, union=formula, sdr_weight=sdr_weight, query_only_weight=0.5)
    torch.testing.assert_close(half.total, expected, **CLOSE)


@pytest.mark.parametrize("formula", ["published", "either"])
def test_nit_loss_does_not_see_the_order_of_noise_heads(formula: str):
    logits, targets = make_logits(), make_targets(make_spectra(), SETTINGS)
    swapped = logits._replace(noise=logits.noise.flip(1))
    loss, other = (nit_loss(x, targets, union=formula) for x in (logits, swapped))
    torch.testing.assert_close(other.total, loss.total)
    torch.testing.assert_close(other.noise_activation, loss.noise_activation)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 1.9])
def test_noise_penalty_counts_only_above_gamma(gamma: float):
    logits, targets = make_logits(), make_targets(make_spectra(), SETTINGS)
    activation = logits.noise.sigmoid().sum(dim=1).mean()
    loss = nit_loss(logits, targets, noise_weight=0.7, noise_gamma=gamma)
    without = nit_loss(logits, targets, noise_weight=0.0).total
    expected = 0.7 * max(0.0, float(activation) - gamma)
    assert float(loss.total - without) == pytest.approx(expected, abs=1e-5)
    assert float(loss.noise_activation) == pytest.approx(float(activation))


def test_share_alone_mixes_in_the_plain_mask_loss():
    logits, targets = make_logits(), make_targets(make_spectra(), SETTINGS)
    joined = nit_loss(logits, targets, noise_weight=0.0, sdr_weight=0.5).total
    plain = mask_loss(logits, targets, sdr_weight=0.5).total
    total = nit_loss(logits, targets, noise_weight=0.0, sdr_weight=0.5, query_only_weight=0.3).total
    torch.testing.assert_close(total, 0.7 * joined + 0.3 * plain)


def test_only_either_learns_where_both_masks_are_wrongly_on():
    """Where the probabilities add up to more than 1 the published union is flat."""
    spectra = make_spectra(1)
    spectra[:, 0] *= 1e-4  # source 0 is masked nowhere
    targets = make_targets(spectra, SETTINGS)
    assert not targets.mask[:, 0].any()
    gradients = {}
    for formula in ("published", "either"):
        shape = (1, 2, SETTINGS.n_bands, SETTINGS.segment_frames)
        query = torch.full(shape, 3.0, requires_grad=True)
        noise = torch.full(shape, 3.0, requires_grad=True)
        loss = nit_loss(MaskLogits(query, noise), targets, noise_weight=0.0, union=formula)
        loss.total.backward()
        gradients[formula] = query.grad[:, 0]
    assert not gradients["published"].any()
    assert (gradients["either"] > 0).all()


@pytest.mark.parametrize("logit", [-200.0, -30.0, -10.0, 0.0, 20.0, 200.0])
def test_published_union_has_the_published_limits(logit: float):
    """Value and gradient, where the probabilities add up to about 0 and to 1 and more."""
    targets = make_targets(make_spectra(), SETTINGS)
    gradients = []
    for published in (False, True):
        masks = torch.full_like(targets.mask, logit, requires_grad=True)
        if published:
            p = union(masks.sigmoid(), masks.sigmoid(), "published")
            expected = F.binary_cross_entropy(p, targets.mask, targets.weight.expand_as(p))
            expected.backward()
        else:
            loss = nit_loss(MaskLogits(masks, masks), targets, noise_weight=0.0).total
            loss.backward()
        gradients.append(masks.grad)
    torch.testing.assert_close(loss, expected, **CLOSE)
    # The best of two equal assignments sends the gradient of noise heads to both of them.
    torch.testing.assert_close(gradients[0].sum(), gradients[1].sum(), **CLOSE)
    assert gradients[0].isfinite().all()


@pytest.mark.parametrize("formula", ["published", "either"])
@pytest.mark.parametrize("logit", [-200.0, 0.0, 200.0])
def test_unions_have_finite_gradients_everywhere(formula: str, logit: float):
    targets = make_targets(make_spectra(), SETTINGS)
    query = torch.full_like(targets.mask, logit, requires_grad=True)
    noise = torch.full_like(targets.mask, logit, requires_grad=True)
    total = nit_loss(MaskLogits(query, noise), targets, union=formula, sdr_weight=1.0).total
    total.backward()
    assert total.isfinite() and query.grad.isfinite().all() and noise.grad.isfinite().all()


def test_published_union_works_in_mixed_precision():
    logits, targets = make_logits(), make_targets(make_spectra(), SETTINGS)
    expected = nit_loss(logits, targets).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(nit_loss(logits, targets).total, expected, **CLOSE)


def test_sources_that_nothing_asks_for_sound_in_the_mixture_only():
    spectra = make_spectra(sources=3)
    targets, every = make_targets(spectra, SETTINGS, n_targets=2), make_targets(spectra, SETTINGS)
    for name in ("log_mixture", "weight", "power"):
        torch.testing.assert_close(getattr(targets, name), getattr(every, name))
    for name in ("mask", "cross", "energy"):
        torch.testing.assert_close(getattr(targets, name), getattr(every, name)[:, :2])


# Absent sounds


def test_targets_of_the_sources_that_sound_are_those_of_all():
    spectra = make_spectra(batch=4, sources=3)
    sounds = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    spectra = spectra * sounds[:, :, None, None]
    mixture = spectra.sum(dim=1, keepdim=True)
    mixture[2] = make_spectra(batch=1, sources=1, seed=5)[0]  # of a sound that nothing asks for
    item, slot = sounds.nonzero(as_tuple=True)
    some = make_some_targets(spectra[item, slot], item, slot, 3, SETTINGS, mixture)
    every = make_targets(spectra, SETTINGS, mixture=mixture)
    for name, value in every._asdict().items():
        torch.testing.assert_close(getattr(some, name), value, **CLOSE)


def test_asking_for_absent_sounds_leaves_nothing_to_be_found():
    targets = make_targets(make_spectra(), SETTINGS)
    query = torch.eye(6).reshape(3, 2, 6)  # all different
    chosen = torch.tensor([True, False, True])
    changed_query, wanted = with_absent_queries(query, targets, chosen)
    torch.testing.assert_close(changed_query[1], query[1])
    torch.testing.assert_close(changed_query[[0, 2], 0], query[[0, 2], 0])
    torch.testing.assert_close(changed_query[[0, 2], 1], query[[2, 1], 0])
    for name in ("mask", "cross", "energy"):
        before, after = getattr(targets, name), getattr(wanted, name)
        assert before[[0, 2], 1].any() and not after[[0, 2], 1].any(), name
        torch.testing.assert_close(after[:, 0], before[:, 0])
        torch.testing.assert_close(after[1], before[1])
    closed, half, open_ = (
        mask_loss(MaskLogits(torch.full_like(wanted.mask, logit)), wanted, sdr_weight=0.3).total
        for logit in (-30.0, 0.0, 30.0)
    )
    everything = mask_loss(MaskLogits(torch.full_like(targets.mask, 30.0)), targets, 0.3).total
    assert closed.isfinite() and half.isfinite() and open_ > everything


def test_a_query_like_one_of_the_mixture_is_not_called_absent():
    targets = make_targets(make_spectra(), SETTINGS)
    first = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0]])
    second = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, -1)
    query = torch.stack([first, second], dim=1)
    changed_query, _ = with_absent_queries(query, targets, torch.tensor([True, True, True]))
    # The first is asked for the third's (too like its own), the second for the first's, the third for
    # the second's (too like its own).
    changed = (changed_query != query).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False]


def test_likeness_is_that_of_directions_of_any_two_of_the_sounds():
    targets = make_targets(make_spectra(batch=2, sources=3), SETTINGS)
    sounds = torch.eye(8)
    other = torch.stack([sounds[5], sounds[6], sounds[7]])

    def is_replaced(asked: torch.Tensor, own: torch.Tensor) -> bool:
        """Whether the second mixture's last query becomes ``asked``, the first mixture's first."""
        query = torch.stack([torch.stack([asked, *other[1:]]), own])
        changed, wanted = with_absent_queries(query, targets, torch.tensor([False, True]))
        torch.testing.assert_close(changed[:, :2], query[:, :2])
        assert (changed[1, 2] == asked).all() == (not wanted.mask[1, 2].any())
        return bool((changed != query).any())

    half = sounds[:4].sum(dim=0)  # a cosine of exactly 0.5 with each of the four
    for place in range(3):
        own = other.clone()
        own[place] = sounds[0]
        assert is_replaced(half, own)
        assert is_replaced(0.01 * half, 100 * own)
        assert not is_replaced(half - 0.1 * sounds[1], own)
        assert not is_replaced(0.01 * (half - 0.1 * sounds[1]), 100 * own)


@pytest.mark.parametrize("logit", [17.0, 40.0, 120.0])
def test_the_published_clamp_costs_100_and_learns_nothing(logit: float):
    """Of torch's own cross-entropy on probabilities, as the published code calls it."""
    from clipsep.training.losses import _log_probabilities

    x = torch.tensor([logit, -logit], requires_grad=True)
    inside, outside = _log_probabilities(x, "published")
    target = torch.tensor([0.0, 1.0])
    cost = -(target * inside + (1 - target) * outside)
    expected = F.binary_cross_entropy(x.sigmoid(), target, reduction="none")
    assert torch.equal(cost, expected) and cost[0] == 100
    cost[0].backward()
    assert x.grad[0] == 0
    free = _log_probabilities(x, "none")
    assert -free[1][0].item() == pytest.approx(logit)


@pytest.mark.parametrize("loss", [mask_loss, pit_loss, nit_loss])
def test_a_model_that_diverged_is_seen_in_the_loss(loss):
    """Torch refuses NaN as a probability, with an error that says nothing of the training."""
    targets, logits = make_targets(make_spectra(), SETTINGS), make_logits()
    logits.query[0, 0, 0, 0] = torch.nan
    options = {} if loss is nit_loss else {"clamp": "published"}
    assert loss(logits, targets, **options).total.isnan()


def test_mixtures_with_like_queries_count_less():
    """Three mixtures whose two queries have the cosines 1, 0.6 and 0."""
    first = torch.tensor([[1.0, 0.0]]).expand(3, -1)
    second = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    query = torch.stack([first, 3 * second], dim=1)
    assert similarity_weight(query, 1)[:, 0].tolist() == [0, 1, 1]
    assert similarity_weight(query, 2)[:, 0].tolist() == [0, 0, 1]
    # relu(1 - 2 relu(cosine - 0.5)), as published
    assert torch.allclose(similarity_weight(query, -1)[:, 1], torch.tensor([0.0, 0.8, 1.0]))
    assert similarity_weight(query, 3).min() == 1  # nothing would be left to learn
    assert similarity_weight(query, 0).min() == 1
    # Of three queries the two that are most alike decide; every query gets the mixture's weight.
    third = torch.tensor([[0.0, -1.0], [0.0, -1.0], [2.0, 0.0]])
    three = torch.stack([first, second, third], dim=1)
    weight = similarity_weight(three, -1)
    assert weight.shape == (3, 3)
    assert torch.allclose(weight, torch.tensor([[0.0], [0.8], [0.0]]).expand(3, 3))
    assert similarity_weight(first[:, None], -1).tolist() == [[1.0]] * 3  # nothing to be like
    targets, logits = make_targets(make_spectra(), SETTINGS), make_logits()
    kept = [
        mask_loss(
            MaskLogits(logits.query[n : n + 1]), Targets(*(part[n : n + 1] for part in targets))
        )
        for n in (1, 2)
    ]
    dropped = mask_loss(logits, targets, query_weight=similarity_weight(query, 1)).total
    assert torch.allclose(dropped, torch.stack([loss.total for loss in kept]).mean())
