"""Speed and memory of separation, all rows in one run: `python -m benchmarks.speed [--model mini]`.

Prints a Markdown table: times real time, further queries, the command line from its start to written files,
many files with one worker and two, peak memory, live audio, and a segment of the published network beside
the published way; with --training also what benchmarks/training.py prints.

Seconds are of the processor, which other work on the machine disturbs less than the clock, and the least of
several runs. Takes some minutes and, for the hour of audio, 2 GB of temporary disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from clipsep.media import AudioWriter
from clipsep.separation.separator import EncodedQueries, Separator

RATE = 44100
REPEATS = 5
FILES, FILE_SECONDS = 40, 10
LATENCY = 1.0


def write_recording(path: Path, seconds: int) -> None:
    """Stereo noise with a slowly moving tone; what it holds does not matter for speed."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(RATE) / RATE
    with AudioWriter(path, RATE, 2) as writer:
        for second in range(seconds):
            tone = 0.2 * np.sin(2 * np.pi * (300 + second % 200) * time_axis)
            writer.write((tone + 0.05 * rng.standard_normal((2, RATE))).astype(np.float32))


def least(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Processor seconds of the quickest of several runs, after one that does not count."""
    work()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def real_time_rows(model: str, seconds: int = 60) -> Iterator[tuple[str, str]]:
    """Time a minute of audio in memory, by one thread, for one query and for more."""
    separator = Separator.from_pretrained(model, device="cpu", threads=1)
    dim = separator.config.model.query_dim
    queries = np.random.default_rng(0).standard_normal((4, dim)).astype(np.float32)
    for rate, channels, name in ((16000, 1, "16 kHz mono"), (RATE, 2, "44.1 kHz stereo")):
        noise = np.random.default_rng(0).standard_normal((channels, rate)).astype(np.float32)

        def separate(n: int, noise: np.ndarray = noise, rate: int = rate) -> None:
            asked = EncodedQueries([str(number) for number in range(n)], queries[:n])
            for _ in separator.stream((0.1 * noise for _ in range(seconds)), rate, asked):
                pass

        one, four = least(lambda: separate(1)), least(lambda: separate(4))
        yield f"{name}, one query", f"{seconds / one:.0f} x real time"
        yield f"{name}, each further query", f"+{100 * (four / one - 1) / 3:.1f} %"
    yield "a segment through the network", f"{1000 * least(lambda: _segment(separator)):.1f} ms"


def _segment(separator: Separator) -> None:
    settings, model = separator.config.spectral, separator.config.model
    segment = np.zeros((1, 1, settings.n_bands, settings.segment_frames), np.float32)
    separator.engine.mask_logits(segment, np.ones((1, model.query_dim), np.float32))


def live_rows(model: str) -> Iterator[tuple[str, str]]:
    """Audio that comes in tenths of a second: when the first sound comes out, and what that costs."""
    separator = Separator.from_pretrained(model, device="cpu", threads=1)
    queries = separator.encode(["rain"])
    block = np.random.default_rng(0).standard_normal((2, RATE // 10)).astype(np.float32)
    heard = [0]

    def blocks(seconds: int) -> Iterator[np.ndarray]:
        for heard[0] in range(1, 10 * seconds + 1):
            yield 0.1 * block

    for latency, name in ((None, "by default"), (LATENCY, f"latency={LATENCY}")):
        next(separator.stream(blocks(10), RATE, queries, latency=latency))
        first = heard[0] / 10

        def separate(latency: float | None = latency) -> None:
            for _ in separator.stream(blocks(30), RATE, queries, latency=latency):
                pass

        share = 100 * least(separate, 3) / 30
        yield f"live audio, {name}: first output", f"{first:.1f} s, {share:.1f} % of a core"


def command_line(inputs: Path, model: str, output: Path, *more: str) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of the processor and peak megabytes of one `clipsep separate`."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "clipsep", "separate", str(inputs), "-o", str(output)]
    command += ["--model", model, "--device", "cpu", *more]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def command_rows(model: str, folder: Path, minutes: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Time the whole way of a user: from the start of the program to written files."""
    recording, output = folder / "recording.wav", folder / "out"
    write_recording(recording, FILE_SECONDS)
    text = f"rain {time.time_ns()}"  # a text that the cache has not seen
    first = command_line(recording, model, output, "-q", text)
    runs = [command_line(recording, model, output, "-q", text) for _ in range(REPEATS)]
    name = f"{FILE_SECONDS} s of 44.1 kHz stereo, start to written file"
    yield f"{name}, new text", f"{first[1]:.2f} s"
    yield f"{name}, text from the cache", f"{min(run[1] for run in runs):.2f} s"
    many = folder / "many"
    many.mkdir()
    for number in range(FILES):
        shutil.copy(recording, many / f"{number:02}.wav")
    for workers in (1, 2):
        wall, cpu, _ = command_line(many, model, output, "-q", "rain", "--workers", str(workers))
        spent = f"{cpu:.1f} s of the processor, {wall:.1f} s by the clock"
        yield f"{FILES} such files, --workers {workers}", spent
    for length in minutes:
        write_recording(recording, 60 * length)
        _, cpu, megabytes = command_line(recording, model, output, "-q", "rain")
        yield f"{length} min of 44.1 kHz stereo", f"{cpu:.0f} s, {megabytes:.0f} MB at the peak"


def published_rows() -> Iterator[tuple[str, str]]:
    """One segment of 256 x 256 (4.1 s) and one query, the same random weights in each way."""
    import torch

    from benchmarks.published_network import PublishedUNet
    from clipsep.models.registry import build_model
    from clipsep.models.settings import ModelSettings

    torch.set_num_threads(1)
    model = build_model(ModelSettings()).eval()
    published = PublishedUNet().eval()
    published.copy_weights(model.network)
    segment, query = torch.randn(1, 1, 256, 256), torch.randn(1, 1, 512)

    def ours(bf16: bool = False) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.query_logits(segment, query)

    def as_published() -> None:
        weights = model.activation(model.project(query)) * model.scale
        torch.einsum("bnk,bkft->bnft", weights, published(segment))

    with torch.inference_mode():
        slow = least(as_published)
        yield "published network, a segment, published way", f"{1000 * slow:.0f} ms"
        for name, spent in (
            ("clipsep", least(ours)),
            ("clipsep, bf16", least(lambda: ours(bf16=True))),
        ):
            yield (
                f"published network, a segment, {name}",
                f"{1000 * spent:.0f} ms, {slow / spent:.1f} x",
            )


def cpu_name() -> str:
    """Name the processor as the system calls it, and which of the instructions that matter it knows."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {key.strip(): value.strip() for key, value in entries.items()}
    flags = known.get("flags", "").split()
    marks = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{known.get('model name', 'unknown processor')} ({', '.join(marks)})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--quick", action="store_true", help="no hour of audio")
    parser.add_argument("--training", action="store_true", help="training, too (extra: bench)")
    options = parser.parse_args()
    print(
        f"{cpu_name()}, {date.today()}, model {options.model}\n\n| what | |\n|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for rows in (
            real_time_rows(options.model),
            live_rows(options.model),
            command_rows(options.model, Path(folder), (1, 10) if options.quick else (1, 10, 60)),
            published_rows() if find_spec("torch") else (),
        ):
            for what, value in rows:
                print(f"| {what} | {value} |", flush=True)
    if options.training:
        print(flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.training"], check=True)


if __name__ == "__main__":
    main()
