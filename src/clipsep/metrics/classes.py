"""Metrics that gather a whole list: ``update`` for each item, ``compute`` for the mean, ``reset``.

The methods are torchmetrics', without torch; as everywhere here, the reference comes first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clipsep.metrics.ratios import (
    FILTER_TAPS,
    BssRatios,
    bss_metrics,
    sdr,
    sdr_improvement,
    si_sdr,
    si_sdr_improvement,
)


class _Gathered:
    """Values of all items so far.

    Attributes:
        left_out: values that are infinite or undefined, as those of silence are; no mean has them.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all items."""
        self._values: list[np.ndarray] = []

    @property
    def values(self) -> np.ndarray:
        """Of every item in the order of the updates, [items] in dB."""
        return np.concatenate(self._values) if self._values else np.empty(0)

    @property
    def left_out(self) -> int:
        return int((~np.isfinite(self.values)).sum())

    def compute(self) -> float:
        """Mean of the finite values in dB; NaN if there are none."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite.mean()) if len(finite) else float("nan")

    def _add(self, values: np.ndarray) -> np.ndarray:
        self._values.append(np.asarray(values, np.float64).reshape(-1))
        return values


class SDR(_Gathered):
    """Mean of `sdr`."""

    def update(self, reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
        """Add items [..., T]; returns theirs."""
        return self._add(sdr(reference, estimate))


class SDRImprovement(_Gathered):
    """Mean of `sdr_improvement`."""

    def update(self, reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> np.ndarray:
        """Add items [..., T]; returns theirs."""
        return self._add(sdr_improvement(reference, estimate, mixture))

    @property
    def share_worse(self) -> float:
        """Share of items that are worse than their mixture; NaN without items."""
        values = self.values[np.isfinite(self.values)]
        return float((values < 0).mean()) if len(values) else float("nan")


class ScaleInvariantSDR(_Gathered):
    """Mean of `si_sdr`.

    Args:
        zero_mean: subtract the means first.
    """

    def __init__(self, zero_mean: bool = False):
        super().__init__()
        self.zero_mean = zero_mean

    def update(self, reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
        """Add items [..., T]; returns theirs."""
        return self._add(si_sdr(reference, estimate, self.zero_mean))


class ScaleInvariantSDRImprovement(_Gathered):
    """Mean of `si_sdr_improvement`.

    Args:
        zero_mean: subtract the means first.
    """

    def __init__(self, zero_mean: bool = False):
        super().__init__()
        self.zero_mean = zero_mean

    def update(self, reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> np.ndarray:
        """Add items [..., T]; returns theirs."""
        return self._add(si_sdr_improvement(reference, estimate, mixture, self.zero_mean))


class BSSMetrics:
    """Means of SDR, SIR and SAR as `bss_metrics` gives them.

    Args:
        taps: length of the distortion filters.
    """

    def __init__(self, taps: int = FILTER_TAPS):
        self.taps = taps
        self.reset()

    def reset(self) -> None:
        """Forget all items."""
        self._gathered = [_Gathered() for _ in BssRatios._fields]

    def update(self, references: ArrayLike, estimates: ArrayLike) -> BssRatios:
        """Add estimates of the first of the references of one mixture; returns theirs."""
        values = bss_metrics(references, estimates, self.taps)
        for gathered, value in zip(self._gathered, values, strict=True):
            gathered._add(value)
        return values

    def compute(self) -> BssRatios:
        """Means of the finite values."""
        # Numbers where `BssRatios` says arrays, as NumPy gives for a single estimate.
        means: Any = [gathered.compute() for gathered in self._gathered]
        return BssRatios(*means)
