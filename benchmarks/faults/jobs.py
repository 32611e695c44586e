"""The jobs that are killed, and the small data they work on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.faults.kills import Job, without_times
from benchmarks.faults.media import test_sound, write_film
from clipsep.media import AudioWriter

N_VIDEOS = 10
_TRAINING = """
name: killed
query_encoder: embedded
query: image
prompts: plain
model:
  network: {kind: patch_unet, widths: [4, 8]}
  feature_channels: 4
  query_activation: none
  noise_heads: 2
spectral: {segment_frames: 16}
loss: {kind: nit}
optimizer: {learning_rate: 0.01, warmup_steps: 2, ema_decay: 0.9}
steps: 24
batch_size: 2
validate_every: 6
validation_mixtures: 4
save_every: 3
log_every: 1
examples: 0
device: cpu
"""


def make_material(folder: Path) -> None:
    """Videos, a data set with embeddings, recordings and a list of mixtures."""
    from clipsep.cli import main

    videos = folder / "videos"
    videos.mkdir()
    for number in range(N_VIDEOS):
        write_film(videos / f"{number}.mp4", ("mpeg4", "aac"), 1.5 + 0.25 * number)
    for command in (
        ["prepare", str(videos), "-o", str(folder / "data"), "--workers", "1"],
        ["embed", str(folder / "data"), "--workers", "1"],
    ):
        if main(command):
            raise SystemExit(f"{command[0]} failed")
    (folder / "train.yaml").write_text(_TRAINING)
    recordings = folder / "recordings"
    recordings.mkdir()
    rng = np.random.default_rng(2)
    for number in range(5):
        sound = test_sound(2, 44_100, 4.0 + number)
        sound += 0.05 * rng.standard_normal(sound.shape).astype(np.float32)
        with AudioWriter(recordings / f"{number}.flac", 44_100, 2, format="flac") as writer:
            writer.write(sound)
    with open(folder / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "interferer", "snr_db", "query", "label"])
        for number in range(5):
            names = [f"recordings/{n}.flac" for n in (number, (number + 1) % 5)]
            writer.writerow([*names, 0, ("rain", "violin")[number % 2], ("a", "b")[number % 2]])


def all_jobs(folder: Path) -> list[Job]:
    """Every job whose bytes must not depend on kills; the one on Ray comes last."""
    recordings, data = str(folder / "recordings"), str(folder / "data")

    def separate(*more: str):
        return lambda output: [
            *("separate", *more, "-q", "rain", "-q", "violin", "--residual", "-o", str(output))
        ]

    def copy_data(output: Path) -> None:
        ignore = shutil.ignore_patterns("embeddings")
        shutil.copytree(folder / "data", output, ignore=ignore)

    outputs = ("**/*.wav",)
    return [
        Job(
            "prepare --workers 1",
            lambda output: ["prepare", f"{folder}/videos", "-o", str(output), "--workers", "1"],
        ),
        Job(
            "prepare --workers 2",
            lambda output: ["prepare", f"{folder}/videos", "-o", str(output), "--workers", "2"],
        ),
        Job(
            "embed --workers 1",
            lambda output: ["embed", str(output), "--workers", "1"],
            before=copy_data,
        ),
        Job(
            "train",
            lambda output: [
                *("train", f"{folder}/train.yaml", f"output={output}"),
                *(f"data.train={data}", f"data.val={data}"),
            ],
            compared=("best/*", "last/*"),
            normal=_weights_and_config,
        ),
        Job("separate FILE", separate(f"{recordings}/4.flac"), outputs),
        Job("separate FOLDER --workers 1", separate(recordings, "--workers", "1"), outputs),
        Job("separate FOLDER --workers 2", separate(recordings, "--workers", "2"), outputs),
        Job(
            "evaluate",
            lambda output: [
                *("evaluate", "mini", "--list", f"snr:{folder}/list.csv", "-o", str(output)),
                *("--audio", str(folder), "--workers", "1"),
            ],
            normal=without_times,
        ),
        Job(
            "separate FOLDER --ray local",
            separate(recordings, "--workers", "2", "--ray", "local"),
            outputs,
        ),
    ]


def _weights_and_config(path: Path) -> bytes:
    """Without the names of folders in the config."""
    if path.suffix != ".json":
        return path.read_bytes()
    return json.dumps(json.loads(path.read_bytes()), sort_keys=True).encode()
