"""The published training loop, rebuilt from its description: what it computes in each step, and where.

A yardstick for benchmarks/training.py alone: nothing here is shared with the package but the numbers.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks.published_network import PublishedUNet

SAMPLES = 65535
IMAGE_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
IMAGE_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class Stopwatch:
    """CPU seconds of this process by part of the work."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[part] += time.process_time() - start


class PublishedClips(Dataset):
    """Two clips per item: spectra of their sounds on linear frequencies, three frames of each.

    Args:
        folder: has ``<name>.wav`` (16 kHz, 16 bit) and ``<name>/000001.jpg`` ..., one frame per second,
            224 x 224.
    """

    def __init__(self, folder: Path, stopwatch: Stopwatch):
        self.clips = sorted(folder.glob("*.wav"))
        self.stopwatch = stopwatch
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return 1_000_000  # drawn again each time

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        spectra, images = [], []
        for path in self.random.choice(self.clips, 2):
            files = sorted(path.with_suffix("").glob("*.jpg"))
            centre = int(self.random.integers(4, len(files) - 3))
            with self.stopwatch("reading sounds"):
                sound = self._sound(path, centre) / np.float32(2)
            with self.stopwatch("librosa.stft"):
                spectra.append(librosa.stft(sound, n_fft=1024, hop_length=256))
            with self.stopwatch("frames"):
                images.append(np.stack([_image(f) for f in files[centre - 2 : centre + 1]]))
        with self.stopwatch("librosa.stft"):
            magnitudes = np.abs(np.stack(spectra))
            mixture = np.abs(np.sum(spectra, axis=0))
        return mixture[None] + np.float32(1e-10), magnitudes, np.stack(images)

    def _sound(self, path: Path, centre: int) -> np.ndarray:
        samples, _ = soundfile.read(path, dtype="float32")
        sound = np.zeros(SAMPLES, np.float32)
        start = round((centre - 0.5) * 16000) - SAMPLES // 2
        low, high = max(start, 0), min(start + SAMPLES - 1, len(samples))
        sound[low - start : high - start] = samples[low:high]
        return (sound * np.float32(self.random.uniform(0.5, 1.5))).clip(-1, 1)


def _image(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return ((pixels - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1)


class PublishedLoop:
    """Step by step: load, embed the frames, warp, separate, weighted cross-entropy, Adam."""

    def __init__(self, folder: Path, batch_size: int):
        self.stopwatch = Stopwatch()
        clips = PublishedClips(folder, self.stopwatch)
        self.batches = iter(DataLoader(clips, batch_size))
        self.clip = CLIPVisionModelWithProjection(CLIPVisionConfig()).eval()
        self.sound_net = PublishedUNet()
        self.query_net = nn.Linear(512, 32)
        self.scale, self.bias = nn.Parameter(torch.ones(32)), nn.Parameter(torch.zeros(1))
        modules = (self.sound_net, self.query_net)
        self.parameters = [p for module in modules for p in module.parameters()]
        self.parameters += [self.scale, self.bias]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)
        self.grid = _warp_grid(256, 256)

    def step(self) -> None:
        """One optimizer step on a batch of mixtures of two."""
        mixture, magnitudes, images = next(self.batches)
        with self.stopwatch("CLIP"), torch.no_grad():
            embeddings = self.clip(pixel_values=images.flatten(0, 2)).image_embeds
            queries = embeddings.view(len(mixture), 2, 3, -1).mean(dim=2)
        with self.stopwatch("warp, network, loss"):
            loss = self._loss(self._warp(mixture), self._warp(magnitudes), queries)
        with self.stopwatch("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with self.stopwatch("clipping, Adam"):
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()

    def _loss(
        self, mixture: torch.Tensor, magnitudes: torch.Tensor, queries: torch.Tensor
    ) -> torch.Tensor:
        features = self.sound_net(mixture.log())
        weight = mixture.log1p().clamp(1e-3, 10)
        losses = []
        for source in range(2):
            query = self.query_net(queries[:, source]).sigmoid() * self.scale
            logits = torch.einsum("bk,bkft->bft", query, features)[:, None] + self.bias
            target = (magnitudes[:, [source]] > 0.5 * mixture).float()
            losses.append(F.binary_cross_entropy(logits.sigmoid(), target, weight))
        return torch.stack(losses).mean()

    def _warp(self, magnitude: torch.Tensor) -> torch.Tensor:
        """[B, C, 513, T] on linear frequencies to 256 bands."""
        grid = self.grid.expand(len(magnitude), -1, -1, -1)
        return F.grid_sample(magnitude, grid, align_corners=True)


def _warp_grid(bands: int, frames: int) -> torch.Tensor:
    time_axis = torch.linspace(-1, 1, frames).expand(bands, -1)
    band = torch.linspace(-1, 1, bands)[:, None].expand(-1, frames)
    frequency = (torch.exp(math.log(21) * (band + 1) / 2) - 11) / 10
    return torch.stack([time_axis, frequency], dim=-1)[None]
