"""Small prepared data sets made of synthetic sound, for tests of mixing and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import CLIPS_PER_SHARD, DatasetWriter, stage_clip

LABELS = ("hum", "hiss")


def make_dataset(
    root: Path,
    clips: int = 6,
    seconds: float = 8.0,
    labeled: bool = True,
    per_shard: int = CLIPS_PER_SHARD,
    labels: tuple[str, str] = LABELS,
) -> PreparedDataset:
    """Clips of tones ("hum") and of noise ("hiss"), with an embedding per frame that tells which.

    Args:
        labels: what the two kinds are called.
    """
    rng = np.random.default_rng(0)
    for number in range(clips):
        if number % per_shard == 0:
            DatasetWriter(root).close()
        label = LABELS[number % 2]
        time = np.arange(round(seconds * 16000)) / 16000
        tone = 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * time)
        audio = tone if label == "hum" else 0.1 * rng.standard_normal(len(time))
        frames = [Image.new("RGB", (8, 8), (number, 0, 0)) for _ in range(int(seconds))]
        known = labels[number % 2] if labeled else None
        stage_clip(root, f"{label}-{number}.mp4", f"v{number}", known, audio, frames)
    DatasetWriter(root).close()
    dataset = PreparedDataset(root)
    embed_by_label(dataset, "tiny")
    return dataset


def embed_by_label(dataset: PreparedDataset, encoder_id: str, dim: int = 4) -> StoredEmbeddings:
    """One-hot embeddings of the labels, as if every frame showed its sound perfectly."""
    embeddings = StoredEmbeddings(dataset, encoder_id)
    for shard in dataset.shards:
        offsets = dataset.frame_offsets(shard)
        table = np.zeros((offsets[-1], dim), np.float32)
        for clip in dataset.clips:
            if clip.shard == shard:
                table[
                    offsets[clip.row] : offsets[clip.row + 1], LABELS.index(clip.id.split("-")[0])
                ] = 1
        embeddings.write(shard, table)
    return embeddings
