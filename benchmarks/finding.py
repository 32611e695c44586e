"""How well `clipsep find` and `clipsep scan` know when sounds are there, on mixtures with known spans.

    python -m benchmarks.finding CORPUS [--list pairs_test.csv] [--count 60] [--scan 20]

A mixture is 12 s of a background with the target in one or two stretches of 1.5 to 3 s, at the level of
the background. Frames are steps of 0.128 s. F1 is of all frames at the threshold 0.5; AUC is that of
presence over frames; "absent" is a query for a sound that is not there at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.corpus import spread_rows
from clipsep import Separator
from clipsep.finding import find, scan
from clipsep.media import read_audio

RATE = 16_000
SECONDS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--list", default="pairs_test.csv")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--scan", type=int, default=20)
    arguments = parser.parse_args()
    separator = Separator.from_pretrained(arguments.model, device="cpu")
    rows = spread_rows(arguments.corpus / arguments.list, arguments.count)
    labels = sorted({row["label"] for row in rows})
    truths, curves, absent, hits = [], [], [], []
    for number, row in enumerate(rows):
        mixture, spans = make_mixture(arguments.corpus, row, np.random.default_rng(number))
        others = [one for one in labels if one not in (row["label"], row["interferer_label"])]
        other = others[number % len(others)]
        found = find(mixture, [row["query"], other], RATE, separator)
        curve = found.sounds[0].curve
        times = (np.arange(len(curve)) + 0.5) * found.step_seconds
        truths.append(np.any([(times >= a) & (times < b) for a, b in spans], axis=0))
        curves.append((curve, covered(times, found.sounds[0])))
        absent.append(covered(times, found.sounds[1]).mean())
        if number < arguments.scan:
            sounds = scan(mixture, RATE, separator).sounds
            names = [sound.query for sound in sounds]
            both = {row["label"], row["interferer_label"]}
            sure = sounds[0].confidence if sounds else 0.0
            hits.append((bool(both & set(names[:1])), sure, len(both & set(names[:5])) / 2))
    truth = np.concatenate(truths)
    presence = np.concatenate([curve for curve, _ in curves])
    marked = np.concatenate([inside for _, inside in curves])
    own = [auc(one, curve) for one, (curve, _) in zip(truths, curves, strict=True)]
    result = {
        "mixtures": len(rows),
        "frame_f1": f1(truth, marked),
        "frame_precision": float(truth[marked].mean()) if marked.any() else 0.0,
        "frame_recall": float(marked[truth].mean()),
        "auc": auc(truth, presence),
        "auc_within_a_recording": float(np.mean(own)),
        "absent_frames_marked": float(np.mean(absent)),
        "always_there_f1": f1(truth, np.ones_like(truth)),
        "best_f1": max(f1(truth, presence > level) for level in np.linspace(0.02, 0.98, 49)),
        "best_level": float(
            max(np.linspace(0.02, 0.98, 49), key=lambda level: f1(truth, presence > level))
        ),
    }
    if hits:
        first, sure, five = np.mean(hits, axis=0)
        result |= {
            "scan_first_is_there": float(first),
            "scan_confidence_of_the_first": float(sure),
            "scan_found_among_five": float(five),
        }
    print(json.dumps({name: round(value, 3) for name, value in result.items()}, indent=2))


def make_mixture(corpus: Path, row: dict, rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """Make a mixture [T] and the spans (start, end) in seconds in which the target is heard."""
    background = filled(corpus / row["interferer"], SECONDS * RATE)
    target = filled(corpus / row["target"], SECONDS * RATE)
    mixture, spans, at = background.copy(), [], 1.0
    for _ in range(int(rng.integers(1, 3))):
        start = at + rng.uniform(0.5, 3.0)
        end = start + rng.uniform(1.5, 3.0)
        if end > SECONDS - 0.5:
            break
        first, last = round(start * RATE), round(end * RATE)
        mixture[first:last] += target[: last - first]
        spans.append((start, end))
        at = end
    return mixture.astype(np.float32), spans


def filled(path: Path, samples: int) -> np.ndarray:
    """Read a recording without its quiet parts, repeated to a length, at an RMS of 0.05."""
    audio, _ = read_audio(path, RATE, mono=True)
    frames = np.resize(audio, -(-len(audio) // 400) * 400).reshape(-1, 400)
    level = np.square(frames).mean(axis=1)
    audio = np.resize(frames[level > level.max() * 1e-3].ravel(), samples)
    return 0.05 * audio / np.sqrt(np.square(audio).mean() + 1e-12)


def covered(times: np.ndarray, sound) -> np.ndarray:
    """Whether each time lies in a span."""
    inside = np.zeros(len(times), bool)
    for span in sound.spans:
        inside |= (times >= span.start) & (times < span.end)
    return inside


def f1(truth: np.ndarray, marked: np.ndarray) -> float:
    right = float((truth & marked).sum())
    return 2 * right / max(1.0, float(truth.sum() + marked.sum()))


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a frame with the sound scores higher than one without."""
    from scipy.stats import rankdata

    ranks = rankdata(score)
    n, m = truth.sum(), (~truth).sum()
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * m))


if __name__ == "__main__":
    main()
