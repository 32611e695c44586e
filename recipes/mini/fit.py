"""What more steps or data would bring: `fit.py runs/steps/study.json`, a study whose variants are sizes.

Fits SDR = a - b x^-c to the variants' mean SDR; prints how well that fits, and where it leads.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

EXPONENTS = np.linspace(0.02, 2, 199)


class PowerLaw(NamedTuple):
    """SDR = a - b x^-c in dB."""

    a: float
    b: float
    c: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.a - self.b * np.asarray(x, float) ** -self.c


def fit(x: np.ndarray, sdr: np.ndarray) -> PowerLaw:
    """Least squares: for each exponent of a grid a line, then the best of them."""

    def line(c: float) -> tuple[float, PowerLaw]:
        design = np.stack([np.ones(len(x)), -(x**-c)], axis=1)
        (a, b), *_ = np.linalg.lstsq(design, sdr, rcond=None)
        law = PowerLaw(float(a), float(b), float(c))
        return float(np.sum((law(x) - sdr) ** 2)), law

    return min(map(line, EXPONENTS))[1]


def main() -> None:
    """Read the study's scores and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="what `clipsep study` wrote")
    parser.add_argument("--estimate", default="text query")
    args = parser.parse_args()
    rows = json.loads(args.study.read_text(encoding="utf-8"))["rows"]
    found = [row for row in rows if row["estimate"] == args.estimate]
    x = np.array([row["x"] for row in found])
    sdr = np.array([row["metrics"]["sdr"]["mean"] for row in found])
    law = fit(x, sdr)
    print(
        f"SDR = {law.a:.2f} - {law.b:.2f} x^-{law.c:.2f} dB ({args.estimate}, {len(x)} variants)\n"
    )
    if law.c == EXPONENTS[0]:
        print(
            "The exponent is the smallest tried: a logarithm, whose end cannot be told from here.\n"
        )
    print("| x | measured, dB | fit, dB |\n|---|---|---|")
    for size, mean in zip(x, sdr, strict=True):
        print(f"| {size:.0f} | {mean:.2f} | {law(size):.2f} |")
    for factor in (2, 4, 10):
        print(f"| {factor * x.max():.0f} | | {law(factor * x.max()):.2f} |")


if __name__ == "__main__":
    main()
