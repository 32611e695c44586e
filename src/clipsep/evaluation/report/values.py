"""What a report says of a list in numbers: a mean with its error, and whether sounds were noticed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistic:
    """Mean, its standard error, and median of the finite values; None where there are too few.

    Attributes:
        n: finite values.
        left_out: values that are infinite or undefined, as metrics of silence are.
    """

    mean: float | None
    standard_error: float | None
    median: float | None
    n: int
    left_out: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Statistic:
        array = np.array(list(values), np.float64)
        finite = array[np.isfinite(array)]
        n, left_out = len(finite), len(array) - len(finite)
        if not n:
            return cls(None, None, None, 0, left_out)
        error = float(finite.std(ddof=1)) / math.sqrt(n) if n > 1 else None
        return cls(float(finite.mean()), error, float(np.median(finite)), n, left_out)


@dataclass(frozen=True)
class Detection:
    """Whether estimates are heard where their sound is, and silent where it is not.

    Attributes:
        threshold_db: energy over the mixture's from which on an estimate is heard.
        false_alarm_rate: share of the queries for absent sounds whose estimate is heard.
        miss_rate: share of the targets which are as loud as that, but whose estimate is not.
        class_aware_sdr_improvement: CA-SDRi (DCASE 2025, task 4) over the two classes that each mixture was
            queried for, the target's and an absent one: the SDR improvement of a target that is heard, 0 dB
            for a missed one, halved where the absent sound is heard.
    """

    threshold_db: float
    false_alarm_rate: float
    miss_rate: float | None
    class_aware_sdr_improvement: Statistic
    mixtures: int
