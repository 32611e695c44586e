"""Endless mixtures on the device that trains: what people record, made of a packed corpus.

A scene has one to four sounds at different levels, often a bed under them, rooms, equalisers, noise,
overload and the holes of coders; three queries by text or image ask for sounds that are there, or are not.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch.nn import functional as F

from clipsep.models.transforms import stft
from clipsep.spectral import SpectralSettings
from clipsep.training.data.augment import (
    AugmentSettings,
    change_mixture,
    change_sources,
    drop_inaudible,
)
from clipsep.training.losses import Targets, make_some_targets
from recipes.everyday.pack import AUDIO, EMBEDDINGS, INDEX

SAMPLE_RATE = 16_000
BEDS = (
    "rain", "traffic", "crowd talking", "wind blowing", "sea waves", "stream flowing", "engine idling",
    "water flowing", "air conditioner", "electric fan", "insects buzzing", "cricket chirping",
    "leaves rustling", "machine running", "children playing", "refrigerator",
)  # fmt: skip
RMS = 0.05
_N_OTHERS = 64  # labels that a batch is asked for besides its queries
_FADE = 80  # samples at both ends of a recording, so that repeating it does not click


class SceneSettings(BaseModel):
    """What scenes are made of.

    Attributes:
        n_sounds: how often a scene has 0, 1, 2, 3, 4 sounds.
        n_queries: asked of each scene: its first sounds, then sounds that are not there.
        absent_prob: a further share of queries that ask for a sound which is not there.
        image_prob: share of queries by an image, for labels with images.
        label_prob: share of queries by text that are the label itself; the others are wordings.
        query_noise: length of the noise added to query embeddings, relative to theirs.
        level_db: standard deviation of each sound's level, at most 10 dB up or down.
        speed: recordings are played up to this much faster or slower, in octaves.
        join_prob: share of sounds that are two recordings of one label, one after the other.
        gap_prob: share of sounds with silence between the repetitions of a short recording.
        bed_prob: share of scenes with a bed, 0 to 20 dB below their sounds.
        absent_weight: how much a query for an absent sound counts in the loss.
        by_images: recordings are silent about their labels: each one is a video with an image of its label,
            assigned once, and everything else follows from the images, as in the paper.
        off_screen_prob: share of these videos with another recording under their own, 0 to 10 dB below,
            assigned once (the noisy videos of noise invariant training).
        wrong_image_prob: share of these videos that show an image of another label.
        left_out: labels that are not learnt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_sounds: tuple[float, ...] = (0.02, 0.1, 0.45, 0.28, 0.15)
    n_queries: int = 3
    absent_prob: float = 0.1
    image_prob: float = 0.3
    label_prob: float = 0.4
    query_noise: float = 0.3
    level_db: float = 4.0
    speed: float = 0.25
    join_prob: float = 0.2
    gap_prob: float = 0.4
    bed_prob: float = 0.2
    absent_weight: float = 0.5
    by_images: bool = False
    off_screen_prob: float = 0.0
    wrong_image_prob: float = 0.0
    left_out: tuple[str, ...] = ()
    augment: AugmentSettings = AugmentSettings(
        changed_prob=0.4,
        reverb_prob=0.6,
        equalizer_db=3.0,
        band_limit_prob=0.3,
        noise_prob=0.25,
        clipping_prob=0.05,
        codec_prob=0.15,
    )


class Scene(NamedTuple):
    """A batch of mixtures with their queries.

    Attributes:
        targets: see `clipsep.training.losses.Targets`.
        query: embeddings, [B, N, D].
        weight: of each query in the loss, [B, N].
        label: the number of each query's label, [B, N].
        there: whether it is to be found, [B, N] of bool.
        absent: which of all labels are certainly not in it, [B, L] of bool.
        others: some labels, [K], and a query for each, ``others_query`` [K, D].
    """

    targets: Targets
    query: torch.Tensor
    weight: torch.Tensor
    label: torch.Tensor
    there: torch.Tensor
    absent: torch.Tensor
    others: torch.Tensor
    others_query: torch.Tensor


def decode(pack: Path) -> tuple[dict, list[np.ndarray]]:
    """Read the index of a pack and its recordings, int16, in the index's order."""
    index = json.loads((pack / INDEX).read_text())
    parts = {place["part"] for place in index["audio"]}
    blobs = {part: (pack / AUDIO.format(part)).read_bytes() for part in parts}

    contents = [
        blobs[place["part"]][place["offset"] : place["offset"] + place["size"]]
        for place in index["audio"]
    ]
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        return index, list(pool.map(_read, contents, chunksize=64))


def _read(content: bytes) -> np.ndarray:
    import soundfile

    return soundfile.read(io.BytesIO(content), dtype="int16")[0]


class _Rows:
    """Rows of a table grouped by label; draws one for each of many labels."""

    def __init__(self, labels: list[int], n_labels: int, device: torch.device):
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=n_labels)
        self.order = torch.from_numpy(order).to(device)
        self.counts = torch.from_numpy(counts).to(device)
        self.first = self.counts.cumsum(0) - self.counts

    def draw(self, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw a row of each label; any row for labels without rows."""
        uniform = torch.rand(labels.shape, device=labels.device, generator=generator)
        count = self.counts[labels]
        place = self.first[labels] + (uniform * count).long().clamp(max=(count - 1).clamp(min=0))
        return self.order[place.clamp(max=len(self.order) - 1)]


class Scenes:
    """Draws batches of scenes from a pack."""

    def __init__(
        self,
        pack: Path,
        settings: SceneSettings,
        spectral: SpectralSettings,
        device: str,
        seed: int,
    ):
        index, recordings = decode(pack)
        self.settings, self.spectral = settings, spectral
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.index = index
        self.labels = [label for label in index["labels"] if label not in settings.left_out]
        number = {label: i for i, label in enumerate(self.labels)}
        self.recordings = dict(zip((p["path"] for p in index["audio"]), recordings, strict=True))
        train = [
            (recording, number[place["label"]])
            for place, recording in zip(index["audio"], recordings, strict=True)
            if place["split"] == "train" and place["label"] in number and len(recording) > 1600
        ]
        lengths = torch.tensor([len(recording) for recording, _ in train])
        self.lengths = lengths.to(self.device)
        self.offsets = (lengths.cumsum(0) - lengths).to(self.device)
        self.audio = torch.from_numpy(np.concatenate([recording for recording, _ in train])).to(
            self.device
        )
        n = len(self.labels)
        self.clips = _Rows([label for _, label in train], n, self.device)
        self.label_weight = self.clips.counts.float().sqrt()
        bed = torch.tensor([label in BEDS for label in self.labels], device=self.device)
        self.bed_weight = self.label_weight * bed
        self.clip_label = torch.tensor([label for _, label in train], device=self.device)
        of_label = self.label_weight / self.clips.counts.clamp(min=1)
        self.absent_weight = of_label[self.clip_label]
        groups = [set(index["groups"].get(label, [f"own {label}"])) for label in self.labels]
        self.alike = torch.tensor(
            [[bool(a & b) for b in groups] for a in groups], device=self.device
        )
        arrays = np.load(pack / EMBEDDINGS)
        tables = {name: torch.from_numpy(arrays[name]).float().to(self.device) for name in arrays}
        row = {label: i for i, label in enumerate(index["asked"])}
        self.label_text = tables["labels"][[row[label] for label in self.labels]]
        kept = [i for i, label in enumerate(index["wordings"]) if label in number]
        self.wording = tables["wordings"][kept]
        self.wordings = _Rows([number[index["wordings"][i]] for i in kept], n, self.device)
        shown = index["images"]["train"]
        kept = [i for i, label in enumerate(shown) if label in number]
        self.image = tables["images_train"][kept]
        self.images = _Rows([number[shown[i]] for i in kept], n, self.device)
        self.tables = tables
        if settings.by_images:
            self._make_videos()

    def _make_videos(self) -> None:
        """Assign to each recording, once, an image and perhaps another recording below it."""
        s, count = self.settings, len(self.clip_label)
        seen = self.images.counts[self.clip_label] > 0
        self.clip_weight = seen.float()
        wrong = self._uniform(count) < s.wrong_image_prob
        label = torch.where(wrong, self.clip_label[torch.randperm(count)], self.clip_label)
        self.clip_image = self.image[self.images.draw(label, self.generator)]
        other = torch.randperm(count, device=self.device, generator=self.generator)
        self.below = torch.where(self._uniform(count) < s.off_screen_prob, other, -1)
        self.below_gain = 10 ** (-10 * self._uniform(count) / 20)

    def draw(self, batch: int) -> Scene:
        """Make a batch of scenes."""
        s, gen, n_queries = self.settings, self.generator, self.settings.n_queries
        slots = len(s.n_sounds)  # the last one is the bed
        clip, sounding = self._clips(batch, slots)
        item, slot = sounding.nonzero(as_tuple=True)  # only what sounds is made
        waveform = self._sounds(clip[item, slot])  # [R, samples]
        level = torch.randn(batch, slots, device=self.device, generator=gen) * s.level_db
        level = level.clamp(-10, 10)
        level[:, -1] = -20 * self._uniform(batch)
        # Some of the scenes are equally loud sounds, as in most lists of mixtures.
        level[:, :-1] *= self._uniform(batch, 1) < 0.6
        gain = 10 ** (level[item, slot] / 20) * RMS
        waveform *= (gain / (waveform.square().mean(dim=-1).sqrt() + 1e-4))[:, None]

        there = sounding[:, :n_queries] & ~(self._uniform(batch, n_queries) < s.absent_prob)
        absent, certain = self._absent(clip, sounding, n_queries)
        asked = torch.where(there, clip[:, :n_queries], absent)
        total = torch.zeros(batch, waveform.shape[-1], device=self.device)
        mixture = change_mixture(total.index_add(0, item, waveform), s.augment, gen)
        spectral = self.spectral
        found = (slot < n_queries) & there[item, slot.clamp(max=n_queries - 1)]
        made = stft(torch.cat([mixture, waveform[found]]), spectral.n_fft, spectral.hop_length)
        recorded = drop_inaudible(made[:batch], s.augment, gen)
        targets = make_some_targets(
            made[batch:], item[found], slot[found], n_queries, spectral, recorded[:, None]
        )
        weight = torch.where(there, 1.0, s.absent_weight * certain)
        label = self.clip_label[clip]
        others = torch.randperm(len(self.labels), device=self.device, generator=gen)[:_N_OTHERS]
        return Scene(
            targets,
            self._queries(asked),
            weight,
            label=self.clip_label[asked],
            there=there,
            absent=~(self.alike[label] & sounding[:, :, None]).any(dim=1),
            others=others,
            others_query=self._noisy(self.label_text[others]),
        )

    def _clips(self, batch: int, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw recordings of each slot [B, S], and which of them sound: none that is like another one."""
        s, gen = self.settings, self.generator
        if s.by_images:
            clip = self._draw(self.clip_weight, batch * slots).view(batch, slots)
        else:
            label = self._draw(self.label_weight, batch * slots).view(batch, slots)
            label[:, -1] = self._draw(self.bed_weight, batch)
            clip = self.clips.draw(label, gen)
        count = self._draw(torch.tensor(s.n_sounds, device=self.device), batch)
        sounding = torch.arange(slots, device=self.device) < count[:, None]
        sounding[:, -1] = self._uniform(batch) < s.bed_prob
        alike = self._alike(clip, clip)
        for slot in range(1, slots):
            clash = (alike[:, slot, :slot] & sounding[:, :slot]).any(dim=1)
            sounding[:, slot] &= ~clash
        return clip, sounding

    def _alike(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Which recordings [B, M] are taken to sound like which others [B, N]: [B, M, N] of bool."""
        if self.settings.by_images:
            images = [F.normalize(self.clip_image[clip], dim=-1) for clip in (a, b)]
            return images[0] @ images[1].mT > 0.5
        return self.alike[self.clip_label[a][:, :, None], self.clip_label[b][:, None, :]]

    def _absent(
        self, clip: torch.Tensor, sounding: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw recordings [B, count] that are unlike all that sounds, and tell whether they really are."""
        weight = self.clip_weight if self.settings.by_images else self.absent_weight
        absent = self._draw(weight, len(clip) * count).view(-1, count)
        alike = (self._alike(absent, clip) & sounding[:, None]).any(dim=-1)
        return absent, ~alike

    def _draw(self, weight: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(weight, count, replacement=True, generator=self.generator)

    def _sounds(self, clip: torch.Tensor) -> torch.Tensor:
        """Cut a segment of each recording, changed as recordings are: [R, samples]."""
        s, gen = self.settings, self.generator
        samples, count = self.spectral.segment_samples, len(clip)
        time = torch.arange(samples, device=self.device)
        waveform = self._segment(clip, time)
        if s.by_images:
            below = self.below[clip]
            under = self._segment(below.clamp(min=0), time)
            rms = [x.square().mean(dim=-1, keepdim=True).sqrt() + 1e-4 for x in (waveform, under)]
            gain = (below >= 0)[:, None] * self.below_gain[clip][:, None]
            waveform = waveform + under * (rms[0] / rms[1]) * gain
        elif s.join_prob:
            rows = torch.randperm(count, device=self.device, generator=gen)[
                : int(count * s.join_prob)
            ]
            joint = (0.25 + 0.5 * self._uniform(len(rows), 1)) * samples
            second = self.clips.draw(self.clip_label[clip[rows]], gen)
            waveform[rows] = torch.where(time < joint, waveform[rows], self._segment(second, time))
        return change_sources(waveform, s.augment, SAMPLE_RATE, gen)

    def _segment(self, clip: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Repeat recordings to fill a segment, from a random place on, at a random speed."""
        s, count = self.settings, len(clip)
        length = self.lengths[clip][:, None]
        speed = 2 ** ((2 * self._uniform(count, 1) - 1) * s.speed)
        pause = self._uniform(count, 1) * (len(time) / 2)
        pause = pause * (self._uniform(count, 1) < s.gap_prob) * (length < len(time) * 1.5)
        period = length + pause
        start = (self._uniform(count, 1) * period).to(torch.float64)
        position = torch.remainder(start + time * speed.double(), period.double())
        lower = position.long()
        share = (position - lower).float()
        lower = lower.clamp(max=length - 2)
        index = self.offsets[clip][:, None] + lower
        low, high = self.audio[index].float(), self.audio[index + 1].float()
        fade = (torch.minimum(position, length - 1 - position) / _FADE).clamp(0, 1).float()
        return (low + (high - low) * share) * fade / 32768

    def _queries(self, clip: torch.Tensor) -> torch.Tensor:
        """Make the query for each recording: its image; or an image, the text or a wording of its label."""
        s, gen = self.settings, self.generator
        if s.by_images:
            query = self.clip_image[clip]
        else:
            label = self.clip_label[clip]
            wording = self.wording[self.wordings.draw(label, gen)]
            plain = self._uniform(*label.shape) < s.label_prob
            query = torch.where(plain[..., None], self.label_text[label], wording)
            shown = self.images.counts[label] > 0
            by_image = (self._uniform(*label.shape) < s.image_prob) & shown
            image = self.image[self.images.draw(label, gen)]
            query = torch.where(by_image[..., None], image, query)
        return self._noisy(query)

    def _noisy(self, query: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(query.shape, device=self.device, generator=self.generator)
        return query + self.settings.query_noise * query.shape[-1] ** -0.5 * noise

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, device=self.device, generator=self.generator)
