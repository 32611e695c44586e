"""Validation scores over a training: `python -m recipes.mini.curve [LOG.csv]`.

LOG.csv is a run's `log/version_*/metrics.csv`; by default that of the first half of the first `mini`.
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
    print("| step | SDR by text, dB | SDR by image, dB | noise activation |\n|---|---|---|---|")
    for row in rows:
        text, image = float(row["val/sdr_text"]), float(row["val/sdr_image"])
        noise = row.get("val/noise_activation")  # models without noise heads have none
        activation = f"{float(noise):.2f}" if noise else "-"
        print(f"| {int(row['step']) + 1:,} | {text:.1f} | {image:.1f} | {activation} |")


if __name__ == "__main__":
    main()
