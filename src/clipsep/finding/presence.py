"""How likely each query's sound is there at each moment, from the masks that the model gives.

It looks at mono sound at the model's rate and keeps one number per query and step; it writes nothing.
"""

from __future__ import annotations

import numpy as np

from clipsep.checkpoint import CheckpointConfig
from clipsep.engines import Engine
from clipsep.feedback import PresenceSettings
from clipsep.media import StreamingResampler
from clipsep.queries.known import Familiarity
from clipsep.separation.masking.confidence import ConfidenceMeter, sigmoid
from clipsep.separation.masking.masks import SegmentMasks, masks_of
from clipsep.separation.masking.query_masks import sensitivity_bias
from clipsep.separation.options import SeparationOptions

STEP_FRAMES = 8  # STFT frames that become one step of the curve
_SMOOTHED_SECONDS = 0.4
_SILENT_DB = 50.0  # frames this far below the segment's mean hold nothing
_LEAST_EXPLAINED = 0.03
_FLOOR = 1e-4  # of shares: -40 dB
_UNCALIBRATED = PresenceSettings(offset=2.2, per_db=0.2, per_logit=0.0)  # set by hand


class Presence:
    """Curves of presence of N queries.

    Args:
        engine: what runs the model.
        queries: embeddings [N, D].
        familiarity: how near the queries are to what the model has learnt.
        options: only ``sensitivity`` counts.
        sample_rate: rate of what is pushed, in Hz.
        overlap: share of the segments that is cross-faded.
        exclusive: the queries are names for the same few sounds: in each segment the one that explains
            most of the energy counts, then the one that explains most of what is left, and so on.

    Attributes:
        step_seconds: between two values of a curve; value i is about the time (i + 1/2) steps.
    """

    def __init__(
        self,
        engine: Engine,
        config: CheckpointConfig,
        queries: np.ndarray,
        familiarity: list[Familiarity | None] | None,
        options: SeparationOptions,
        sample_rate: int,
        overlap: float = 0.125,
        exclusive: bool = False,
    ):
        settings = config.spectral
        self._engine, self._config, self._queries = engine, config, queries
        self._shares = exclusive_shares if exclusive else energy_shares
        self._bias = np.float32(sensitivity_bias(options.sensitivity))
        familiarity = familiarity or [None] * len(queries)
        self._meter = ConfidenceMeter(config.confidence, familiarity) if config.confidence else None
        self._resampler = StreamingResampler(sample_rate, settings.sample_rate)
        self._estimator = SegmentMasks(self._likely, settings, overlap)
        self._rest = np.zeros((len(queries), 0), np.float32)
        self._steps: list[np.ndarray] = []
        self.step_seconds = STEP_FRAMES * settings.hop_length / settings.sample_rate

    def push(self, block: np.ndarray, last: bool = False) -> None:
        """Take samples [C, n]."""
        mono = self._resampler.push(block.mean(axis=0), last=last)
        frames = self._estimator.push(mono, last=last)
        if frames is not None:
            self._rest = np.concatenate([self._rest, frames[:, 0]], axis=1)
        whole = self._rest.shape[1] // STEP_FRAMES * STEP_FRAMES
        pooled = self._rest[:, :whole].reshape(len(self._rest), -1, STEP_FRAMES).mean(axis=-1)
        self._rest = self._rest[:, whole:]
        self._steps.append(pooled)
        if last and self._rest.shape[1]:
            self._steps.append(self._rest.mean(axis=1, keepdims=True))

    def curves(self) -> np.ndarray:
        """Return the probabilities so far that each sound is there, float32 [N, steps], smoothed."""
        curves = np.concatenate(self._steps, axis=1)
        width = max(1, round(_SMOOTHED_SECONDS / self.step_seconds))
        return smoothed(curves, width)

    @property
    def confidence(self) -> np.ndarray | None:
        """[N]: that each sound is there at all, by the model's calibration; None without one."""
        return self._meter.confidence if self._meter else None

    def features(self, log_magnitude: np.ndarray) -> np.ndarray:
        """Compute what presence is judged by, in one segment of the mixture, [1, 1, F, T].

        Returns:
            [N, T, 3], in the order of the weights of `PresenceSettings`; NaN where a mask takes nothing.
        """
        mixture = log_magnitude[0, 0]
        logits = self._engine.mask_logits(log_magnitude, self._queries)[0]
        masks = masks_of(logits + self._bias, False, self._config.name)
        shares = self._shares(mixture, masks)
        taken = shares * _heard(mixture)[1]
        mean = taken.mean(axis=1, keepdims=True)
        present = np.full(len(masks), 0.5)  # without a calibration
        if self._meter:
            present = self._meter.add(mixture, logits).clip(1e-4, 1 - 1e-4)
        logit = np.log(present / (1 - present))
        features = np.stack(
            [
                decibels(shares),
                decibels(taken / np.maximum(mean, 1e-30)),
                np.broadcast_to(logit[:, None], shares.shape),
            ],
            axis=-1,
        )
        return np.where(shares[..., None] > 0, features, np.nan)

    def _likely(self, log_magnitude: np.ndarray) -> np.ndarray:
        """Log-magnitudes [1, 1, F, T] to probabilities [N, 1, T], in place of masks."""
        calibrated = self._config.confidence
        weights = calibrated.presence if calibrated else _UNCALIBRATED
        each = (weights.per_db, weights.per_db_of_mean, weights.per_logit)
        probability = sigmoid(weights.offset + self.features(log_magnitude) @ each)
        return np.nan_to_num(probability).astype(np.float32)[:, None]


def decibels(shares: np.ndarray) -> np.ndarray:
    """Shares of energy in dB, -40 at least."""
    return 10 * np.log10(shares + _FLOOR)


def energy_shares(log_magnitude: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute the share of each frame's energy that each mask takes.

    Args:
        log_magnitude: the mixture's, [F, T].
        masks: [N, F, T].

    Returns:
        [N, T]; 0 in frames that are as good as silent.
    """
    power, energy = _heard(log_magnitude)
    return np.einsum("nft,ft->nt", np.square(masks), power) / energy


def exclusive_shares(log_magnitude: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """As `energy_shares`, but what one mask explains is no longer there for the next.

    Masks are chosen greedily, as atoms are in matching pursuit (Mallat and Zhang, 1993), until the best
    explains less than `_LEAST_EXPLAINED` of the segment's energy; the others take nothing.
    """
    power, energy = _heard(log_magnitude)
    passed = np.square(masks).reshape(len(masks), -1)
    left, total = power.ravel().copy(), float(power.sum())
    shares = np.zeros((len(masks), len(energy)), np.float32)
    for _ in range(len(masks)):
        explained = passed @ left
        best = int(np.argmax(explained))
        if explained[best] < _LEAST_EXPLAINED * total or shares[best].any():
            break
        taken = (passed[best] * left).reshape(power.shape)
        shares[best] = taken.sum(axis=0) / energy
        left *= (1 - masks[best].ravel()) ** 2
    return shares


def _heard(log_magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power [F, T] without frames that are as good as silent, and the energy [T] of the frames."""
    power = np.exp(2 * (log_magnitude - log_magnitude.max()))
    energy = power.sum(axis=0)
    heard = energy > energy.mean() * 10 ** (-_SILENT_DB / 10)
    return power * heard, np.maximum(energy, 1e-30)


def smoothed(curves: np.ndarray, width: int) -> np.ndarray:
    """Average curves [N, steps] over ``width`` steps around each step, fewer at both ends."""
    steps = curves.shape[1]
    sums = np.cumsum(np.pad(curves, [(0, 0), (1, 0)]), axis=1, dtype=np.float64)
    first = np.clip(np.arange(steps) - width // 2, 0, steps)
    last = np.clip(np.arange(steps) - width // 2 + width, 0, steps)
    return ((sums[:, last] - sums[:, first]) / (last - first)).astype(np.float32)
