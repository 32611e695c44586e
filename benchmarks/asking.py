"""What --not, --remove and --gain do to the sounds of mixtures, in dB.

    python -m benchmarks.asking CORPUS [--list pairs_test.csv] [--count 60] [--sensitivity 0.5]

The masks that are made for a mixture are applied to its two sounds apart, which shows exactly what of each
is in the estimate. "not" is the difference that the negative query makes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.corpus import spread_rows
from clipsep import Separator
from clipsep.media import read_audio
from clipsep.separation.masking.combining import MaskPlan
from clipsep.separation.masking.query_masks import QueryMasks
from clipsep.spectral import from_bands, log_magnitude, stft

SAMPLES = 65_535


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--list", default="pairs_test.csv")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--sensitivity", type=float, default=0.5)
    arguments = parser.parse_args()
    separator = Separator.from_pretrained(arguments.model, device="cpu")
    rows = spread_rows(arguments.corpus / arguments.list, arguments.count)
    plans = {
        "plain": (MaskPlan(), [0]),
        "not": (MaskPlan(excluded=1), [0, 1]),
        "remove": (MaskPlan(remove=True), [0]),
        "gain +6": (MaskPlan(gains_db=(6.0,)), [0]),
        "gain -20": (MaskPlan(gains_db=(-20.0,)), [0]),
    }
    levels: dict[str, list] = {name: [] for name in plans}
    for row in rows:
        target = excerpt(arguments.corpus / row["target"], int(row["target_start"]))
        other = excerpt(arguments.corpus / row["interferer"], int(row["interferer_start"]))
        other *= 10 ** (-float(row["snr_db"]) / 20)
        for name, plan in plans.items():
            queries = [row["query"], row["interferer_label"]]
            levels[name].append(
                passed(separator, target, other, queries, plan, arguments.sensitivity)
            )
    table = {name: np.array(one) for name, one in levels.items()}
    table["not, difference"] = table["not"] - table["plain"]
    print(json.dumps({name: summary(one) for name, one in table.items()}, indent=2))


def passed(separator, target, other, queries, plan, sensitivity) -> tuple[float, float]:
    """How much of the target and of the other sound is in the estimate, in dB."""
    settings = separator.config.spectral
    make, numbers = plan
    encoded = separator.encode([queries[number] for number in numbers])
    masks = QueryMasks(
        separator.engine,
        separator.config,
        encoded.embeddings,
        encoded.familiarity,
        sensitivity=sensitivity,
    )
    spectra = [stft(one, settings.n_fft, settings.hop_length) for one in (target, other)]
    (mask,) = make(masks(log_magnitude(sum(spectra), settings)[None, None]))
    bins = from_bands(mask, settings)
    return tuple(10 * np.log10(energy(bins * one) / energy(one)) for one in spectra)


def energy(spectrum: np.ndarray) -> float:
    return float(np.square(np.abs(spectrum)).sum()) + 1e-12


def excerpt(path: Path, start: int) -> np.ndarray:
    """Float32 [SAMPLES] at an RMS of 0.05, as the lists of the corpus want it."""
    audio, _ = read_audio(path, 16_000, mono=True)
    audio = np.resize(audio[start:], SAMPLES)
    return (0.05 * audio / np.sqrt(np.square(audio).mean() + 1e-12)).astype(np.float32)


def summary(levels: np.ndarray) -> dict[str, float]:
    mean, median = levels.mean(axis=0), np.median(levels, axis=0)
    return {
        "target_db": round(float(mean[0]), 2),
        "other_db": round(float(mean[1]), 2),
        "median_target_db": round(float(median[0]), 2),
        "median_other_db": round(float(median[1]), 2),
    }


if __name__ == "__main__":
    main()
