"""Mix-and-separate: training and validation mixtures of known sources, drawn from prepared videos.

Every item is a pure function of (seed, index), so a resumed run sees exactly the mixtures
that an unbroken one would have seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch.utils.data import Dataset

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.index import INDEX_FILE, Clip
from clipsep.datasets.reader import SAMPLE_RATE, PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import counted
from clipsep.plugins import SAMPLERS, load_plugin
from clipsep.training.data.augment import as_recorded
from clipsep.training.data.batches import MixtureItem
from clipsep.training.data.clip_order import ClipOrder, Window
from clipsep.training.data.other_clips import OtherClipQueries
from clipsep.training.data.settings import MAX_EXTRA_SOURCES, MixingSettings

REMOTE_WINDOW = 16  # shards that are shuffled together where each has to be fetched
_DRAWS = 3  # of a clip that should be unlike others; data of one kind have no such clip
_ALIKE = 0.5  # clips whose frames have a higher cosine are taken to sound alike, as in losses.py
_FPS = 1  # frames per second in a data set
_LOUDEST_GAIN = 100.0  # of the RMS normalisation: silence stays silence


class Sampler(Protocol):
    """What chooses the clips of training mixtures; its class is called with a data set and options.

    ``Sampler(dataset, n_sources=N, seed=seed, **options)`` makes one. What it draws may depend on ``index``
    and the seed alone, so that a resumed training sees the same mixtures.
    """

    def __call__(self, index: int) -> Sequence[int]:
        """Choose the clips of mixture ``index``, [N] positions in ``dataset.clips``."""
        ...


class _Source(NamedTuple):
    samples: np.ndarray
    clip_query: np.ndarray
    label: int


class MixtureDataset(Dataset):
    """Mixtures of a data set's clips.

    Args:
        embeddings: those of the frames; None for models without image queries (queries are then zeros).
        labels: what a mixture's label indices count in: labels, or captions.
        captions: texts of clips by their ids, of which training draws one per clip, and validation takes
            the first; then the index of a source's label is that of its caption.
        samples: length of a segment, at 16 kHz.
        train: random centres, gains and partners that change with every epoch; otherwise (validation)
            the middle of each clip, no gain, and a partner drawn once per clip.
        length: number of items; in training usually steps * batch size.
        shuffle_shards: shards among whose clips training shuffles and mixes at a time (`ClipOrder`); by
            default all, or `REMOTE_WINDOW` where shards have to be fetched.

    Raises:
        ClipsepError: if the data set has too few clips to mix.
        UsageError: if its cache or its windows are too small.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        embeddings: StoredEmbeddings | None,
        labels: list[str],
        settings: MixingSettings,
        samples: int,
        seed: int,
        train: bool,
        length: int | None = None,
        shuffle_shards: int | None = None,
        captions: Mapping[str, Sequence[str]] | None = None,
        other_clips: OtherClipQueries | None = None,
    ):
        self._captions, self._other_clips = captions, other_clips
        if len(dataset) < settings.n_sources:
            raise ClipsepError(
                f"'{dataset.root}' has {counted(len(dataset), 'clip')}: mixing {settings.n_sources} needs "
                "at least as many."
            )
        self.dataset, self.embeddings, self.settings = dataset, embeddings, settings
        self.samples, self.seed, self.train = samples, seed, train
        self._augmented = settings.augment != type(settings.augment)()
        self.length: int = length or len(dataset)
        self._label_index = {label: i for i, label in enumerate(labels)}
        window = shuffle_shards or (REMOTE_WINDOW if dataset.root.remote else None)
        self._order = ClipOrder(dataset.clips.shard_numbers, seed, window)
        self._entered = -1  # number of the window in use
        self._sampler = self._load_sampler() if train and settings.sampler else None
        if train and self._order.fewest_clips < settings.n_sources:
            raise UsageError(
                f"{window} shards of '{dataset.root}' may hold too few clips to mix: raise "
                "data.shuffle_shards."
            )
        if dataset.root.remote:
            assert window is not None
            self._claim_room(2 * window if train else settings.n_sources * self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> MixtureItem:
        rng = np.random.default_rng((self.seed, index))
        clips = self._training_clips(index, rng) if self.train else self._test_clips(index, rng)
        sources = [self._draw(clip, rng) for clip in clips]
        if (
            self.train
            and self.settings.single_source_prob
            and rng.random() < self.settings.single_source_prob
        ):
            self._silence_partners(index, clips, sources, rng)
        samples = np.stack([source.samples for source in sources])
        if self.train and self.settings.extra_source_prob:
            samples = np.concatenate([samples, self._extra_sources(index, clips, rng)])
        samples /= np.float32(len(sources))
        if self.train and self._augmented:
            seed = int(np.random.SeedSequence((self.seed, index, 1)).generate_state(1)[0])
            samples = as_recorded(samples, self.settings.augment, SAMPLE_RATE, seed)
        return MixtureItem(
            samples,
            np.stack([source.clip_query for source in sources]),
            np.array([source.label for source in sources]),
            index,
        )

    def _training_clips(self, index: int, rng: np.random.Generator) -> list[Clip]:
        """Each epoch visits every clip once; its partners are any other clips of the same window."""
        if self._sampler is not None:
            return self._sampled_clips(index)
        window, first = self._order.locate(index)
        if self.dataset.root.remote and window.number != self._entered:
            self._enter(window)
        n_partners = self.settings.n_sources - 1
        # As published, no clip twice: the last one stands in for the first in the draw.
        chosen = [first]
        while len(chosen) <= n_partners:
            drawn = window.clips[int(rng.integers(len(window.clips) - 1))]
            drawn = window.clips[-1] if drawn == first else drawn
            if drawn not in chosen:
                chosen.append(drawn)
        return [self.dataset.clips[i] for i in chosen]

    def _load_sampler(self) -> Sampler:
        settings = self.settings
        if self.dataset.root.remote:
            raise UsageError(
                f"mixing.sampler may choose any clip, and '{self.dataset.root}' would be fetched over and "
                "over: copy the data set to a folder."
            )
        assert settings.sampler is not None
        cls = load_plugin(SAMPLERS, settings.sampler)
        try:
            return cls(
                self.dataset,
                n_sources=settings.n_sources,
                seed=self.seed,
                **settings.sampler_options,
            )
        except ClipsepError:
            raise
        except Exception as error:  # whatever somebody's code raises
            raise ClipsepError(
                f"The sampler '{settings.sampler}' cannot be made: {error}."
            ) from error

    def _sampled_clips(self, index: int) -> list[Clip]:
        assert self._sampler is not None
        chosen = [int(number) for number in self._sampler(index)]
        inside = all(0 <= number < len(self.dataset) for number in chosen)
        if len(chosen) != self.settings.n_sources or not inside:
            raise ClipsepError(
                f"The sampler '{self.settings.sampler}' gave {chosen} for mixture {index}: expected "
                f"{self.settings.n_sources} numbers below {len(self.dataset)}."
            )
        return [self.dataset.clips[number] for number in chosen]

    def _silence_partners(
        self, index: int, clips: list[Clip], sources: list[_Source], rng: np.random.Generator
    ) -> None:
        """In place; partners of the first clip's kind, which would be heard in it, are drawn again.

        What is of a kind is decided by the frames where there are some: no label may reach a training
        by images. Only a training by texts, whose queries are labels, goes by those.
        """

        def like_first(clip: Clip) -> bool:
            if clip.id == clips[0].id:
                return True
            if self.embeddings is None:
                return clip.label is not None and clip.label == clips[0].label
            return _cosine(self._mean_embedding(clip), self._mean_embedding(clips[0])) > _ALIKE

        for place in range(1, len(clips)):
            if like_first(clips[place]):
                clips[place] = self._draw_clip(index, rng, unfit=like_first)
                sources[place] = self._draw(clips[place], rng)
            sources[place].samples[:] = 0

    def _extra_sources(self, index: int, clips: list[Clip], rng: np.random.Generator) -> np.ndarray:
        """Load sources that are not queried, or silence in their place: [MAX_EXTRA_SOURCES, samples]."""
        samples = np.zeros((MAX_EXTRA_SOURCES, self.samples), np.float32)
        taken = {clip.id for clip in clips}
        for row in samples:
            if rng.random() >= self.settings.extra_source_prob:
                break
            clip = self._draw_clip(index, rng, unfit=lambda clip: clip.id in taken)
            row[:] = self._draw(clip, rng).samples
            taken.add(clip.id)
        return samples

    def _draw_clip(
        self, index: int, rng: np.random.Generator, unfit: Callable[[Clip], bool]
    ) -> Clip:
        """Any of the item's window; an unfit one only if a few draws find no other."""
        window, _ = self._order.locate(index)
        for _ in range(_DRAWS):
            clip = self.dataset.clips[window.clips[int(rng.integers(len(window.clips)))]]
            if not unfit(clip):
                break
        return clip

    def _test_clips(self, index: int, rng: np.random.Generator) -> list[Clip]:
        place, n_partners = index % len(self.dataset), self.settings.n_sources - 1
        first = self.dataset.clips[place]
        if self.settings.validation_partner == "other_label" and first.label is not None:
            return [first, *(self._other_label(first, rng) for _ in range(n_partners))]
        # As published: random.seed(index), then random.sample of all clips but the first.
        others = random.Random(index).sample(range(len(self.dataset) - 1), n_partners)
        return [first, *(self.dataset.clips[other + (other >= place)] for other in others)]

    def _other_label(self, first: Clip, rng: np.random.Generator) -> Clip:
        """Choose a clip with another label than the first's, if there is one."""
        for _ in range(100):
            partner = self.dataset.clips[int(rng.integers(len(self.dataset)))]
            if partner.label != first.label:
                break
        return partner

    def _enter(self, window: Window) -> None:
        """Release the last window; fetch what is missing of this one and of the next."""
        self._entered = window.number
        self.dataset.unmap()
        following = self._order.window(window.number + 1)
        shards = [self.dataset.shards[i] for i in (*window.shards, *following.shards)]
        self.dataset.root.fetch_ahead(
            [INDEX_FILE, *(file for shard in shards for file in self._files(shard))]
        )

    def _claim_room(self, n_shards: int) -> None:
        """Refuse a cache that cannot hold ``n_shards`` shards: they would be fetched over and over."""
        root = self.dataset.root
        sizes = [sum(map(root.size, self._files(shard))) for shard in self.dataset.shards]
        needed = root.size(INDEX_FILE) + sum(sorted(sizes, reverse=True)[:n_shards])
        root.claim("training" if self.train else "validation", needed)

    def _files(self, shard: str) -> list[str]:
        """List what is read of a shard, as paths below the data set's root."""
        files = [self.dataset.shard_file(shard)]
        return [*files, self.embeddings.file(shard)] if self.embeddings else files

    def _draw(self, clip: Clip, rng: np.random.Generator) -> _Source:
        # Clips that were imported with their published frames have the further ones already.
        n_frames = max(clip.n_frames, round(clip.seconds) + self.settings.extra_frames)
        frame = self._centre_frame(n_frames if self.settings.extra_frames else clip.n_frames, rng)
        centre = (frame + 0.5) / _FPS  # a frame is taken in the middle of its second
        if self.train and self.settings.jitter:
            centre += rng.uniform(-self.settings.jitter, self.settings.jitter)
        audio = self.dataset.audio(clip)
        speed = 1.0
        if self.train and self.settings.speed_perturb:
            speed = rng.uniform(1 - self.settings.speed_perturb, 1 + self.settings.speed_perturb)
        segment = cut_segment(audio, round(centre * SAMPLE_RATE), round(self.samples * speed))
        if speed != 1:
            segment = _stretch(segment, self.samples)
        if self.settings.target_rms:
            rms = float(np.sqrt(np.mean(segment**2)))
            segment *= self.settings.target_rms / max(rms, self.settings.target_rms / _LOUDEST_GAIN)
        if self.train:
            segment *= np.float32(rng.uniform(*self.settings.gain_range))
        if not self.settings.target_rms:
            np.clip(segment, -1, 1, out=segment)
        return _Source(segment, self._query(clip, frame, rng), self._text_of(clip, rng))

    def _text_of(self, clip: Clip, rng: np.random.Generator) -> int:
        """Index of the text that is a clip's query; -1 if it has none."""
        if self._captions is None:
            return -1 if clip.label is None else self._label_index.get(clip.label, -1)
        texts = self._captions[clip.id]
        return self._label_index[texts[int(rng.integers(len(texts))) if self.train else 0]]

    def _centre_frame(self, n_frames: int, rng: np.random.Generator) -> int:
        """0-based frame at the segment's centre; the middle one of clips too short for the margin."""
        margin = math.ceil(self.settings.margin * _FPS)
        if not self.train or n_frames <= 2 * margin:
            return max(n_frames // 2 - 1, 0)  # the published one: number n_frames // 2, from 1
        return int(rng.integers(margin, n_frames - margin))

    def _mean_embedding(self, clip: Clip) -> np.ndarray:
        assert self.embeddings is not None
        return self.embeddings.clip(clip).mean(axis=0)

    def _query(self, clip: Clip, frame: int, rng: np.random.Generator) -> np.ndarray:
        if self.embeddings is None:
            return np.zeros(1, np.float32)
        if self._other_clips is not None:
            return self._other_clips.draw(clip, rng)
        table = self.embeddings.clip(clip)
        steps = np.arange(self.settings.query_frames) - self.settings.query_frames // 2
        wanted = (frame + self.settings.frame_stride * steps).clip(0, len(table) - 1)
        return table[wanted].mean(axis=0)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _stretch(segment: np.ndarray, samples: int) -> np.ndarray:
    """Stretch a segment by linear interpolation; its faint aliasing does not matter here."""
    positions = np.linspace(0, len(segment) - 1, samples)
    return np.interp(positions, np.arange(len(segment)), segment).astype(np.float32)


def cut_segment(audio: np.ndarray, centre: int, samples: int) -> np.ndarray:
    """Cut a segment of int16 audio, centred on sample ``centre``, as float32 in [-1, 1].

    Audio shorter than the segment is repeated to fill it; beyond the ends of longer audio is silence.
    """
    if len(audio) < samples:
        audio = np.tile(audio, samples // len(audio) + 1)
        centre = len(audio) // 2
    start = centre - samples // 2
    segment = np.zeros(samples, np.float32)
    low, high = max(start, 0), min(start + samples, len(audio))
    segment[low - start : high - start] = audio[low:high]
    segment /= np.float32(32768)
    return segment
