"""What recorders do to a mixture: `python -m benchmarks.recorders CORPUS [--model mini]`.

Encodes the mixtures of a list and decodes them again, clips them, or adds noise, and scores what is then
separated against the clean target. Text queries only; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.robustness import mean
from benchmarks.speed import cpu_name
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.lists.export import write_mixtures
from clipsep.evaluation.scoring.score import MIXTURE
from clipsep.media import AudioWriter, read_audio

Change = Callable[
    [np.ndarray, int, Path], np.ndarray
]  # (waveform [C, T], rate in Hz, scratch folder)


def coded(suffix: str, kilobits: int) -> Change:
    """Through an encoder and back, with the same number of samples."""

    def change(waveform: np.ndarray, sample_rate: int, folder: Path) -> np.ndarray:
        path = folder / f"coded.{suffix}"
        # Encoders know few rates; all know this one.
        rate = 48_000
        with AudioWriter(path, rate, len(waveform), format=suffix, bit_rate=kilobits) as writer:
            writer.write(resampled(waveform, sample_rate, rate))
        decoded, rate = read_audio(path)
        decoded = resampled(decoded, rate, sample_rate)[:, : waveform.shape[-1]]
        return np.pad(decoded, ((0, 0), (0, waveform.shape[-1] - decoded.shape[-1])))

    return change


def resampled(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Resample a waveform [C, T] to another rate."""
    import soxr

    return soxr.resample(waveform.T, rate, wanted).T.astype(np.float32)


def clipped(share: float) -> Change:
    """Cut at a share of the peak."""

    def change(waveform: np.ndarray, sample_rate: int, folder: Path) -> np.ndarray:
        limit = share * np.abs(waveform).max()
        return waveform.clip(-limit, limit)

    return change


def noisy(snr_db: float) -> Change:
    """With white noise so far below the mixture."""

    def change(waveform: np.ndarray, sample_rate: int, folder: Path) -> np.ndarray:
        level = np.sqrt(np.square(waveform).mean()) * 10 ** (-snr_db / 20)
        noise = np.random.default_rng(0).standard_normal(waveform.shape)
        return waveform + (level * noise).astype(np.float32)

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda waveform, sample_rate, folder: waveform,
    "MP3, 64 kbit/s": coded("mp3", 64),
    "AAC, 64 kbit/s": coded("m4a", 64),
    "Opus, 24 kbit/s": coded("opus", 24),
    "clipped at half of its peak": clipped(0.5),
    "noise 20 dB below": noisy(20),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--list", default="pairs_test_wide.csv")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth mixture only")
    options = parser.parse_args()
    print(
        f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}, model {options.model}, "
        f"{options.list}, SDR in dB: mean ± standard error\n\n"
        f"`python -m benchmarks.recorders {shlex.join(sys.argv[1:])}`\n\n"
        "| mixture | unchanged mixture | text query | median |\n|---|--:|--:|--:|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_mixtures(options.corpus / options.list, folder, options.corpus)
        mixtures = sorted((folder / "mixture").iterdir())[:: options.every]
        clean = {path: soundfile.read(path, dtype="float32", always_2d=True) for path in mixtures}
        for change, apply in CHANGES.items():
            for path, (waveform, sample_rate) in clean.items():
                changed = apply(waveform.T, sample_rate, folder)
                soundfile.write(path, changed.T, sample_rate, "FLOAT")
            report = evaluate(options.model, f"files:{files}", "text", every=options.every)
            sdr = report.statistic(report.model_estimates[0], "sdr")
            mixture = report.statistic(MIXTURE, "sdr")
            print(f"| {change} | {mean(mixture)} | {mean(sdr)} | {sdr.median:.2f} |", flush=True)


if __name__ == "__main__":
    main()
