"""Prints the embedded encoder's speed on one thread and its cold start: speed.py

It must need no data: time depends on sizes alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from PIL import Image

from clipsep.queries import load_query_encoder

START = """
import time; begin = time.perf_counter()
import numpy, onnxruntime; imported = time.perf_counter()
from clipsep.queries import load_query_encoder
load_query_encoder("embedded").{call}
print(imported - begin, time.perf_counter() - imported)
"""
CALLS = {
    "text": 'encode_texts(["dog barking"])',
    "image": 'encode_images([__import__("PIL.Image").Image.new("RGB", (320, 240))])',
}


def main() -> None:
    for name, call in CALLS.items():
        runs = [cold_start(call) for _ in range(5)]
        import_s, rest_s = (median(column) for column in zip(*runs, strict=True))
        print(f"cold start to the first {name}: imports {import_s:.2f} s, then {rest_s:.2f} s")
    encoder = load_query_encoder("embedded", threads=1)
    noise = np.random.default_rng(0).integers(0, 256, (256, 340, 3), dtype=np.uint8)
    for count in (1, 32):
        images = [Image.fromarray(noise)] * count
        texts = [f"dog number {n}" for n in range(count)]
        for name, job in (
            ("images 340x256", lambda items=images: encoder.encode_images(items)),
            ("texts", lambda items=texts: encoder.encode_texts(items)),
        ):
            print(f"{count} {name}: {1e3 * seconds(job) / count:.1f} ms each")


def cold_start(call: str) -> tuple[float, float]:
    """Seconds for importing NumPy and ONNX Runtime, and for all the rest, in a fresh process."""
    command = [sys.executable, "-c", START.format(call=call)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    first, second = output.split()
    return float(first), float(second)


def seconds(job: Callable[[], object], repeats: int = 11) -> float:
    """Median time of a job once it is warm."""
    times = []
    for _ in range(repeats + 2):
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return median(times[2:])


if __name__ == "__main__":
    main()
