"""Validation scores over a training: `python benchmarks/standin/curve.py [LOG.csv]`.

LOG.csv is a run's `log/version_*/metrics.csv`; by default the one of the shipped `mini`.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

SHIPPED = Path(__file__).parent / "logs/mini.csv"


def main() -> None:
    """Print a Markdown table of the validations."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    print("| step | SDR by text, dB | SDR by picture, dB | noise activation |\n|---|---|---|---|")
    for row in rows:
        values = [row["val/sdr_text"], row["val/sdr_image"], row["val/noise_activation"]]
        text, image, noise = map(float, values)
        print(f"| {int(row['step']) + 1:,} | {text:.1f} | {image:.1f} | {noise:.2f} |")


if __name__ == "__main__":
    main()
