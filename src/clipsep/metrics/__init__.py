"""Metrics of separated sound, for any separator: functions of arrays, and classes that gather a list's.

`sdr`, `si_sdr` and their improvements need NumPy alone; `bss_metrics` (SIR and SAR, equal to museval's at a
multiple of its speed) needs SciPy, which it imports when it is called. Sounds are real arrays whose last
axis is time; everything is computed in double precision.
"""

from clipsep.metrics.classes import (
    SDR,
    BSSMetrics,
    ScaleInvariantSDR,
    ScaleInvariantSDRImprovement,
    SDRImprovement,
)
from clipsep.metrics.ratios import (
    FILTER_TAPS,
    BssRatios,
    bss_metrics,
    class_aware_sdr_improvement,
    decibels,
    is_silent,
    leakage,
    sdr,
    sdr_improvement,
    si_sdr,
    si_sdr_improvement,
)

__all__ = [
    "FILTER_TAPS",
    "SDR",
    "BSSMetrics",
    "BssRatios",
    "SDRImprovement",
    "ScaleInvariantSDR",
    "ScaleInvariantSDRImprovement",
    "bss_metrics",
    "class_aware_sdr_improvement",
    "decibels",
    "is_silent",
    "leakage",
    "sdr",
    "sdr_improvement",
    "si_sdr",
    "si_sdr_improvement",
]
