"""Lists of test mixtures of a corpus, as the benchmarks read them."""

from __future__ import annotations

import csv
from pathlib import Path


def spread_rows(path: Path, count: int) -> list[dict[str, str]]:
    """At most ``count`` rows of a list, evenly spaced."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows[:: max(1, len(rows) // count)][:count]
