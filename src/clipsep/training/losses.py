"""What the networks are trained for: masks of known mixtures, with or without noise heads.

Everything here works on mask logits and `Targets`.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import torch
from torch.nn import functional as F

from clipsep.models.clipsep import MaskLogits
from clipsep.models.transforms import log_magnitude, magnitude, to_bands, unwarp_matrix
from clipsep.spectral import SpectralSettings

# Queries with a higher cosine are taken to name the same sound: a rule of thumb for the embedded
# encoder. Where all embeddings of an encoder lie close together, few mixtures would get an absent query.
_DISSIMILAR = 0.5


class Targets(NamedTuple):
    """A batch of mixtures whose sources are known, on log-frequency bands.

    Attributes:
        log_mixture: the network's input, [B, 1, F, T].
        mask: binary, 1 where the source has more than half of the mixture's magnitude, [B, N, F, T].
        weight: what each position counts in the cross-entropy, from the mixture's loudness, [B, 1, F, T].
        power: |X|^2 of the mixture, summed over the linear bins of each band, [B, 1, F, T].
        cross: Re(S conj(X)) of each source, summed likewise, [B, N, F, T].
        energy: |S|^2 of each source, summed over everything, [B, N].
    """

    log_mixture: torch.Tensor
    mask: torch.Tensor
    weight: torch.Tensor
    power: torch.Tensor
    cross: torch.Tensor
    energy: torch.Tensor


class Loss(NamedTuple):
    """A scalar to minimise and what it is made of (for the log)."""

    total: torch.Tensor
    noise_activation: torch.Tensor | None = None


def make_targets(
    source_spectra: torch.Tensor,
    settings: SpectralSettings,
    n_targets: int | None = None,
    mixture: torch.Tensor | None = None,
) -> Targets:
    """Targets of mixtures from the complex spectra of their sources, [B, N, n_fft // 2 + 1, T].

    Args:
        n_targets: how many sources, from the first on, are targets; the others are only part of the
            mixture. By default all are targets.
        mixture: complex [B, 1, n_fft // 2 + 1, T], where it is not the sum of these sources.
    """
    if mixture is None:
        mixture = source_spectra.sum(dim=1, keepdim=True)
    source_spectra = source_spectra[:, :n_targets]
    of_mixture, bands = _of_mixture(mixture, settings)
    return Targets(**of_mixture, **_of_sources(source_spectra, mixture, bands, settings))


def make_some_targets(
    sources: torch.Tensor,
    item: torch.Tensor,
    slot: torch.Tensor,
    n_targets: int,
    settings: SpectralSettings,
    mixture: torch.Tensor,
) -> Targets:
    """`make_targets` where most targets may be silent: only those that sound are computed.

    Args:
        sources: complex [R, n_fft // 2 + 1, T].
        item, slot: the mixture to which each source belongs, and its place among the targets, [R].
        mixture: complex [B, 1, n_fft // 2 + 1, T].
    """
    of_mixture, bands = _of_mixture(mixture, settings)
    found = _of_sources(sources[:, None], mixture[item], bands[item], settings)
    everywhere = {}
    for name, value in found.items():
        everywhere[name] = value.new_zeros(len(mixture), n_targets, *value.shape[2:])
        everywhere[name][item, slot] = value[:, 0]
    return Targets(**of_mixture, **everywhere)


def _of_mixture(
    mixture: torch.Tensor, settings: SpectralSettings
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Compute what `Targets` hold of mixtures [B, 1, ...], and the mixtures' bands."""
    level = magnitude(mixture)
    bands = to_bands(level + settings.log_floor, settings)
    return {
        "log_mixture": log_magnitude(mixture, settings),
        "weight": torch.log1p(bands).clamp(1e-3, 10),
        "power": _collect(settings, mixture.device) @ level.square(),
    }, bands


def _of_sources(
    sources: torch.Tensor,
    mixture: torch.Tensor,
    mixture_bands: torch.Tensor,
    settings: SpectralSettings,
) -> dict[str, torch.Tensor]:
    """Compute what `Targets` hold of sources [B, N, ...]."""
    level = magnitude(sources)
    cross = torch.addcmul(sources.real * mixture.real, sources.imag, mixture.imag)
    return {
        "mask": (to_bands(level, settings) > 0.5 * mixture_bands).float(),
        "cross": _collect(settings, mixture.device) @ cross,
        "energy": level.square().sum(dim=(-2, -1)),
    }


def _collect(settings: SpectralSettings, device: torch.device) -> torch.Tensor:
    """[n_bands, n_fft // 2 + 1]: adds up the linear bins whose mask a band sets."""
    return unwarp_matrix(
        settings.n_fft, settings.sample_rate, settings.n_bands, settings.max_frequency, device
    ).T


def mask_loss(
    logits: MaskLogits,
    targets: Targets,
    sdr_weight: float = 0.0,
    clamp: str = "none",
    query_weight: torch.Tensor | None = None,
) -> Loss:
    """Mean over sources of the mask cost: for CLIPSep and its supervised variants.

    Args:
        logits: as many queries as sources, in the same order.
        sdr_weight: weight of the signal-to-distortion term beside the weighted cross-entropy (published:
            0).
        clamp: ``published`` takes the logarithm of rounded probabilities and keeps it above -100, so
            that a mask which is wrong and saturated costs 100 and learns nothing; ``none`` computes the
            cross-entropy from logits, whose gradient does not vanish.
        query_weight: how much each query counts, [B, N]; by default all count alike.
    """
    x = logits.query.float()
    cost = _cost(*_log_probabilities(x, clamp), targets, sdr_weight)
    if query_weight is None:
        return Loss(cost.mean())
    return Loss((cost * query_weight).sum() / query_weight.sum())


def similarity_weight(query: torch.Tensor, closest: int) -> torch.Tensor:
    """Weigh mixtures down whose queries may name the same sound, as the published ``drop_closest``.

    Args:
        query: embeddings [B, N, D]; of each mixture the two that are most alike decide.
        closest: this number of mixtures of the batch, those with the highest cosine, get the weight 0; with
            -1 each gets relu(1 - 2 relu(cosine - 0.5)).

    Returns:
        [B, N]; ones if all weights would be 0.
    """
    unit = F.normalize(query.float(), dim=-1)
    cosine = unit @ unit.mT  # [B, N, N]
    same = torch.eye(cosine.shape[-1], dtype=torch.bool, device=cosine.device)
    highest = cosine.masked_fill(same, -1.0).amax(dim=(-2, -1))  # [B]
    if closest < 0:
        weight = F.relu(1 - 2 * F.relu(highest - 0.5))
    else:
        weight = torch.ones_like(highest)
        weight[highest.topk(min(closest, len(highest))).indices] = 0
    if not weight.any():
        weight = torch.ones_like(weight)
    return weight[:, None].expand(-1, query.shape[1])


def pit_loss(
    logits: MaskLogits, targets: Targets, sdr_weight: float = 0.0, clamp: str = "none"
) -> Loss:
    """Permutation invariant training (Yu et al., 2017): the best assignment of masks to sources.

    Args:
        sdr_weight, clamp: see `mask_loss`.
    """
    x = logits.query.float()
    n_sources = targets.mask.shape[1]
    costs = [
        _cost(*_log_probabilities(x[:, order], clamp), targets, sdr_weight)
        for order in permutations(range(n_sources))
    ]
    costs = [cost.mean(dim=1) for cost in costs]
    return Loss(torch.stack(costs).amin(dim=0).mean())


def nit_loss(
    logits: MaskLogits,
    targets: Targets,
    noise_weight: float = 0.1,
    noise_gamma: float = 0.25,
    union: str = "published",
    sdr_weight: float = 0.0,
    query_only_weight: float = 0.0,
) -> Loss:
    """Noise invariant training (Dong et al., 2023, section 3.2).

    Each query mask is joined with one noise mask, over the best assignment, so that sound which the
    query does not explain may go to the noise heads; their mean activation is kept small.

    Args:
        noise_weight: weight of the penalty on the mean summed noise activation above ``noise_gamma``.
        union: how two masks join. ``published``: min(1, a + b), whose gradient vanishes where the sum
            passes 1. ``either``: 1 - (1 - a)(1 - b), computed from logits, whose gradient does not.
        sdr_weight: see `mask_loss`.
        query_only_weight: share of the cost on the query masks without noise masks (published: 0).
    """
    assert logits.noise is not None
    x, noise = logits.query.float(), logits.noise.float()
    n_sources = targets.mask.shape[1]
    costs = []
    for order in permutations(range(noise.shape[1]), n_sources):
        log_inside, log_outside = _union(x, noise[:, order], union)
        costs.append(_cost(log_inside, log_outside, targets, sdr_weight).mean(dim=1))
    cost = torch.stack(costs).amin(dim=0).mean()
    if query_only_weight:
        cost = (1 - query_only_weight) * cost + query_only_weight * mask_loss(
            logits, targets, sdr_weight
        ).total
    activation = noise.sigmoid().sum(dim=1).mean()
    return Loss(cost + noise_weight * F.relu(activation - noise_gamma), activation.detach())


def with_absent_queries(
    query: torch.Tensor, targets: Targets, chosen: torch.Tensor
) -> tuple[torch.Tensor, Targets]:
    """Replace the last query of some mixtures by one for a sound that they lack; its mask is empty.

    The new query is that of another mixture's first sound. Where it resembles one of the mixture's own
    (cosine above 0.5), the sound might be there, and the mixture stays as it is. The other mixture is the
    one before in this batch, that is, in the part of a step's batch that one device sees in one pass: with
    other parts it is another one, and a batch of one mixture stays as it is.

    Args:
        query: embeddings [B, N, D].
        chosen: which mixtures, [B] of bool.

    Returns:
        the queries and the targets, the others as they were.
    """
    absent = query[:, :1].roll(1, dims=0)
    similarity = F.normalize(absent, dim=-1) @ F.normalize(query, dim=-1).mT  # [B, 1, N]
    chosen = chosen & (similarity.amax(dim=(1, 2)) <= _DISSIMILAR)

    def with_last(values: torch.Tensor, last: torch.Tensor | float) -> torch.Tensor:
        replaced = values.clone()
        replaced[chosen, -1] = last
        return replaced

    return with_last(query, absent[chosen, 0]), targets._replace(
        mask=with_last(targets.mask, 0.0),
        cross=with_last(targets.cross, 0.0),
        energy=with_last(targets.energy, 0.0),
    )


def _log_probabilities(x: torch.Tensor, clamp: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability that a position is inside, and outside, of a mask; see `mask_loss`."""
    if clamp == "published":
        return _clamped(x.sigmoid())
    return F.logsigmoid(x), F.logsigmoid(-x)


def _clamped(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log p and log(1 - p) with the limits, and the gradients, of torch's binary cross-entropy."""
    # There NaN raises an error, which on a GPU ends the process; here the loss is to become NaN.
    undefined = p.isnan()
    p = p.masked_fill(undefined, 0.5)
    with torch.autocast(p.device.type, enabled=False):
        log_inside = -F.binary_cross_entropy(p, torch.ones_like(p), reduction="none")
        log_outside = -F.binary_cross_entropy(p, torch.zeros_like(p), reduction="none")
    return log_inside.masked_fill(undefined, torch.nan), log_outside.masked_fill(
        undefined, torch.nan
    )


def _union(x: torch.Tensor, noise: torch.Tensor, union: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability that a position is inside, and outside, of either mask."""
    if union == "published":
        # Written as published, and with the published limits of the logarithms and their gradients,
        # which decide where the sum of two probabilities rounds to 0 or 1.
        return _clamped(1 - F.relu(1 - (x.sigmoid() + noise.sigmoid())))
    # The limit keeps the logarithm below finite where both logits are far below zero.
    log_outside = -(F.softplus(x) + F.softplus(noise)).clamp(min=1e-30)
    return torch.log(-torch.expm1(log_outside)), log_outside


def _cost(
    log_inside: torch.Tensor, log_outside: torch.Tensor, targets: Targets, sdr_weight: float
) -> torch.Tensor:
    """Cost of masks [B, N, F, T] given as log-probabilities: [B, N]."""
    log_likelihood = targets.mask * log_inside + (1 - targets.mask) * log_outside
    cost = -(targets.weight * log_likelihood).mean(dim=(-2, -1))
    if not sdr_weight:
        return cost
    return cost + sdr_weight * _distortion(log_inside.exp(), targets)


def _distortion(mask: torch.Tensor, targets: Targets, floor: float = 1e-3) -> torch.Tensor:
    """log10 of the distortion-to-signal ratio of masked mixtures: -SDR in bel, [B, N].

    sum |S - mX|^2 expands to |X|^2 m^2 - 2 Re(S conj(X)) m + |S|^2. Summing the linear bins into bands
    first is exact but for bins between two bands, where it is an upper bound (Jensen).

    Args:
        floor: -10 log10 of it, in dB, is about the SDR above which improvement no longer counts.
    """
    error = (targets.power * mask.square() - 2 * targets.cross * mask).sum(dim=(-2, -1))
    error = (error + targets.energy).clamp(min=0)
    # A silent source would divide by zero; a hundredth of the mixture stands in for it.
    reference = targets.energy + 0.01 * targets.power.sum(dim=(-2, -1)) + 1e-8
    return torch.log10(error / reference + floor)
