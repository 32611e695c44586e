"""Trains a model of which every part is examples/plugin's, through the command line, and separates with it.

Run by `make plugin` with the Python of an environment in which that package is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

CONFIG = """
name: own
output: run
data: {train: data, val: data}
query_encoder: words:32
query: text
prompts: recording
model:
  network: {kind: dilated, stride: 4, options: {width: 8, layers: 3}}
  feature_channels: 8
  query_activation: none
spectral: {segment_frames: 64}
mixing: {margin: 0.5, sampler: rounds}
loss: {kind: magnitude}
loggers: {jsonl: {path: losses.jsonl}}
steps: 5
batch_size: 2
validate_every: 5
examples: 0
device: cpu
"""


def main() -> None:
    """Exit with a sentence if something of the example package was not used."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        time = np.arange(16_000 * 5) / 16_000
        for word, frequency in (("hum", 200), ("beep", 1500)):
            for number in range(2):
                path = folder / "sounds" / word / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                sound = 0.3 * np.sin(2 * np.pi * (frequency + 30 * number) * time)
                soundfile.write(path, sound, 16_000)
        (folder / "own.yaml").write_text(CONFIG)
        _clipsep(folder, "prepare", "--sounds", "sounds", "-o", "data")
        _clipsep(folder, "train", "own.yaml")
        _clipsep(folder, "export", "run/best")
        _clipsep(
            folder, "separate", "sounds/hum/0.wav", "-q", "hum", "--model", "run/best", "-o", "o"
        )
        if len((folder / "losses.jsonl").read_text().splitlines()) < 1 or not list(
            (folder / "o").iterdir()
        ):
            sys.exit("The example package was not used.")


def _clipsep(folder: Path, *arguments: str) -> None:
    command = [Path(sys.executable).with_name("clipsep"), *arguments]
    subprocess.run(command, cwd=folder, check=True)


if __name__ == "__main__":
    main()
