"""Compare clipsep's SDR, SIR and SAR with museval's, and their speeds: `python -m benchmarks.metrics`.

Needs museval 0.4.1, which wants the programs ffmpeg and ffprobe. `--store FILE.npz` writes the small
cases that the tests use instead of running it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from museval.metrics import bss_eval
from threadpoolctl import threadpool_limits

from clipsep.metrics import bss_metrics

METRICS = ("SDR", "SIR", "SAR")
KINDS = (
    "mixture",
    "leaking",
    "filtered",
    "masked",
    "clipped",
    "quiet",
    "half silent estimate",
    "half silent interferer",
    "low-passed sources",
    "pure tones",
    "silent",
)


def make_case(seed: int, samples: int, n_references: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Make a case: its kind, its references [N, T], the target first, and an estimate [T]."""
    random = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    references = np.stack([_sound(random, samples) for _ in range(n_references)])
    if kind == "half silent interferer":
        references[1, samples // 2 :] = 0
    if kind == "low-passed sources":
        references = np.stack(
            [np.convolve(source, np.hanning(64), "same") for source in references]
        )
    if kind == "pure tones":
        phase = np.arange(samples) * random.uniform(0.02, 1, (n_references, 1))
        references = 0.05 * np.sin(phase)
    references = references.astype(np.float32)  # as sounds come out of files and models
    target, mixture = references[0], references.sum(axis=0)
    estimate = target + random.uniform(0.01, 0.5) * (mixture - target)
    estimate = estimate + 10 ** random.uniform(-5, -2) * random.standard_normal(samples)
    if kind == "mixture":
        estimate = mixture
    elif kind == "filtered":
        estimate = np.convolve(estimate, random.standard_normal(16) / 4, "same")
    elif kind == "masked":
        estimate = np.where(np.abs(target) > np.abs(mixture - target), mixture, 0)
    elif kind == "clipped":
        estimate = np.clip(20 * estimate, -1, 1)
    elif kind == "quiet":
        estimate = 1e-6 * estimate
    elif kind == "half silent estimate":
        estimate[: samples // 2] = 0
    elif kind == "silent":
        estimate = 0 * estimate
        if seed % 3:
            references[seed % 2] = 0
    return kind, references.astype(np.float64), estimate.astype(np.float32).astype(np.float64)


def _sound(random: np.random.Generator, samples: int) -> np.ndarray:
    """Coloured noise and some tones that come and go, at an RMS of 0.05."""
    slope = random.uniform(0, 2)
    spectrum = (
        np.fft.rfft(random.standard_normal(samples)) / np.arange(1, samples // 2 + 2) ** slope
    )
    sound = np.fft.irfft(spectrum, samples)
    sound /= sound.std()
    time_axis = np.arange(samples) / 16000
    for frequency in random.uniform(80, 4000, 5):
        envelope = np.maximum(0, np.sin(2 * np.pi * random.uniform(0.2, 3) * time_axis))
        sound += random.uniform(0, 2) * envelope * np.sin(2 * np.pi * frequency * time_axis)
    return 0.05 * sound / sound.std()


def museval_metrics(references: np.ndarray, estimate: np.ndarray) -> np.ndarray | None:
    """SDR, SIR and SAR as the published evaluation calls museval; None where it refuses."""
    # It wants an estimate of every source, though only the target's is scored.
    estimates = np.stack([estimate, *(references[1:] + 1e-3)])
    try:
        sdr, _, sir, sar, _ = bss_eval(references, estimates, window=np.inf)
    except ValueError:
        return None
    return np.array([sdr[0, 0], sir[0, 0], sar[0, 0]])


def compare(cases: int, samples: int) -> None:
    """Print the largest difference per kind of case; every tenth case has three sources."""
    worst: dict[str, np.ndarray] = {}
    refused: dict[str, int] = {}
    for seed in range(cases):
        kind, references, estimate = make_case(seed, samples, 3 if seed % 11 == 10 else 2)
        theirs = museval_metrics(references, estimate)
        ours = np.array(bss_metrics(references, estimate))
        if theirs is None:
            refused[kind] = refused.get(kind, 0) + 1
        else:
            assert np.isfinite(theirs).all()
            worst[kind] = np.maximum(worst.get(kind, np.zeros(3)), np.abs(ours - theirs))
    print(f"| {cases} cases of {samples} samples | {' | '.join(METRICS)} |\n|---|---|---|---|")
    for kind, difference in worst.items():
        print(f"| {kind} | {' | '.join(f'{value:.1e}' for value in difference)} |")
    overall = np.max(list(worst.values()), axis=0)
    print(f"| largest difference, dB | {' | '.join(f'{value:.1e}' for value in overall)} |")
    print(f"\nRefused by museval: {refused}")


def time_both(samples: int, repeats: int = 15) -> None:
    """Print milliseconds for one pair, with one estimate of the target and with five."""
    _, references, estimate = make_case(1, samples, 2)
    many = np.stack([estimate] * 5)
    theirs = _median_ms(lambda: museval_metrics(references, estimate), repeats)
    print("| one pair of two sources | museval ms | clipsep ms | ratio |\n|---|---|---|---|")
    for name, count, estimates in (("one estimate", 1, estimate), ("five estimates", 5, many)):
        ours = _median_ms(lambda estimates=estimates: bss_metrics(references, estimates), repeats)
        print(f"| {name} | {count * theirs:.0f} | {ours:.0f} | {count * theirs / ours:.1f} |")


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()  # of this process: the machine may have other work
        work()
        times.append(time.process_time() - start)
    return 1000 * float(np.median(times))


def store(path: Path, cases: int = 30, samples: int = 2048) -> None:
    """Write small cases as 16-bit integers, with what museval says of exactly these."""
    signals, values = [], []
    for seed in range(cases):
        _, references, estimate = make_case(seed, samples, 2)
        case = np.round(np.clip([*references, estimate], -1, 1) * 32767).astype(np.int16)
        result = museval_metrics(case[:2] / 32768, case[2] / 32768)
        if result is not None:
            signals.append(case)
            values.append(result)
    np.savez_compressed(path, signals=np.stack(signals), museval=np.stack(values))
    print(f"{path}: {len(values)} cases")


def main() -> None:
    """Parse the command line, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--samples", type=int, default=65280, help="as the published evaluation")
    parser.add_argument("--store", type=Path, help="only write the cases of the tests here")
    args = parser.parse_args()
    threadpool_limits(limits=1)
    if args.store:
        store(args.store)
        return
    print(f"{date.today()}, one thread\n")
    compare(args.cases, args.samples)
    time_both(args.samples)


if __name__ == "__main__":
    main()
