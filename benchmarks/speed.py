"""Speed and memory of separation on one core: `python -m benchmarks.speed [--model mini]`.

Prints a Markdown table: times real time, cold start of the command line, and peak memory for ten
minutes and for one hour of stereo at 44.1 kHz. Takes a few minutes and 5 GB of temporary disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

from clipsep.media import AudioWriter

RATE = 44100
REPEATS = 5


def write_recording(path: Path, seconds: int) -> None:
    """Stereo noise with a slowly moving tone; what it holds does not matter for speed."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(RATE) / RATE
    with AudioWriter(path, RATE, 2) as writer:
        for second in range(seconds):
            tone = 0.2 * np.sin(2 * np.pi * (300 + second % 200) * time_axis)
            writer.write((tone + 0.05 * rng.standard_normal((2, RATE))).astype(np.float32))


def times_real_time(model: str, rate: int, channels: int, seconds: int = 60) -> float:
    """Seconds of sound separated per second of work, one query, one thread, model loaded."""
    import torch

    from clipsep import Separator

    torch.set_num_threads(1)
    separator = Separator.from_pretrained(model, device="cpu")
    noise = np.random.default_rng(0).standard_normal((channels, seconds * rate))
    blocks = np.array_split(0.1 * noise.astype(np.float32), seconds, axis=1)

    def once() -> float:
        start = time.perf_counter()
        for _ in separator.stream(blocks, rate, ["rain"]):
            pass
        return time.perf_counter() - start

    once()
    return seconds / statistics.median(once() for _ in range(REPEATS))


def command_line(recording: Path, model: str, output: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one `clipsep separate` in a process of its own."""
    command = [sys.executable, "-m", "clipsep", "separate", str(recording), "-q", "rain"]
    command += ["--model", model, "-o", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024


def cpu_name() -> str:
    """The processor as the system calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    model = parser.parse_args().model
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, children included
    print(f"{cpu_name()}, one core, {date.today()}, model {model}, medians of {REPEATS}\n")
    print("| what | value |\n|---|---|")
    for rate, channels, name in ((16000, 1, "mono 16 kHz"), (RATE, 2, "stereo 44.1 kHz")):
        print(f"| {name}, one query | {times_real_time(model, rate, channels):.0f} x real time |")
    with tempfile.TemporaryDirectory() as folder:
        recording, output = Path(folder) / "recording.wav", Path(folder) / "out"
        write_recording(recording, 10)
        runs = [command_line(recording, model, output)[0] for _ in range(REPEATS)]
        print(f"| 10 s stereo 44.1 kHz file, cold start | {statistics.median(runs):.1f} s |")
        for minutes in (10, 60):
            write_recording(recording, 60 * minutes)
            seconds, megabytes = command_line(recording, model, output)
            print(
                f"| {minutes} min stereo 44.1 kHz file | {megabytes:.0f} MB peak, {seconds:.0f} s |"
            )


if __name__ == "__main__":
    main()
