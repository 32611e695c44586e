"""`clipsep finetune`: teach a model one more sound from a few recordings, and measure what that costs.

It puts the other rooms' work together: prepare, embed, train, average, evaluate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_config,
    save_checkpoint,
    save_config,
)
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.prepare.sounds import SoundFile, find_sounds, prepare_sounds, sound_file
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import shuffle_key
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import SOUND_SUFFIXES, VIDEO_SUFFIXES, find_files
from clipsep.media.images import open_image
from clipsep.messages import Progress, counted
from clipsep.plugins import trust
from clipsep.queries import QueryEncoder, load_query_encoder
from clipsep.queries.known import copy_known_sounds
from clipsep.queries.prompts import encode_prompted
from clipsep.training.callbacks.progress import StepCount
from clipsep.training.config import TrainingConfig
from clipsep.training.train import train
from clipsep.workflows.backgrounds import write_backgrounds
from clipsep.workflows.before_after import Score, compare, write_held_out

FEWEST = 4  # recordings; one in four is kept for the measurement
_HELD_OUT = 4


@dataclass(frozen=True)
class Finetuning:
    """What to teach, and how hard.

    Attributes:
        name: what the sound is to be called in queries.
        clips: folder of recordings of it, or files; at any depth.
        output: folder for data, training and the new model.
        image: an image of it, which is used as a query too.
        others: folder of other sounds with a folder for each, to mix with; generated noises without it,
            which teach less.
        model: where to start from.
        steps, learning_rate, batch_size: settings of the training.
        share: part of the trained weights in the result, the rest is the start's (Wortsman et al., 2022):
            less of the new sound, more of what was known before.
        check: list of test mixtures (a CSV file or KIND:FILE) on which both models are scored, for what was
            forgotten; ``audio`` is where its paths begin.
        every: score only every n-th of its mixtures.
    """

    name: str
    clips: Path
    output: Path
    image: Path | None = None
    others: Path | None = None
    model: str = "mini"
    steps: int = 300
    learning_rate: float = 2e-4
    batch_size: int = 8
    share: float = 0.8
    check: str | None = None
    audio: Path | None = None
    every: int = 1
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clips", "output", "image", "others", "audio"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))  # text serves as well


@dataclass(frozen=True)
class FinetuneReport:
    """The new model and what was measured of it."""

    model: Path
    scores: list[Score]


def finetune(
    request: Finetuning,
    tell: Callable[[str], None] = lambda sentence: None,
    progress: Progress | None = None,
) -> FinetuneReport:
    """Train, average and measure; after an interrupt, run it again to continue.

    Args:
        tell: is called with a sentence at each stage.
        progress: is called with the steps of the training that are done, and all of them.

    Raises:
        UsageError: for too few recordings, other sounds of the same name, a wrong list or model.
        ClipsepError: if data cannot be read or the training diverges.
    """
    if not 0 < request.share <= 1:
        raise UsageError("--share must be above 0 and at most 1.")
    start = load_checkpoint(request.model)
    if start.config.model.kind != "clipsep":
        raise UsageError(
            f"The model '{start.config.name}' cannot learn new queries: choose another."
        )
    own = _recordings(request)
    others = _others(request, tell)
    if same := {sound.id for sound in own} & {sound.id for sound in others}:
        raise UsageError(
            f"'{min(same)}' is both in '{request.clips}' and among the others: rename one of their folders."
        )
    parts = {split: _split(own, split) + _split(others, split) for split in ("train", "val")}
    parts = {split: _prepared(request, split, sounds, tell) for split, sounds in parts.items()}
    mixtures = request.output / "held_out.csv"
    held_out = PreparedDataset(request.output / "data" / "val")
    write_held_out(request.name, parts["val"], held_out, mixtures)
    dataset = PreparedDataset(request.output / "data" / "train")
    encoder = load_query_encoder(start.config.query_encoder)
    if request.image is not None:
        _embed(dataset, encoder, start.config.prompts)
    config = _config(request, start)
    new = sum(sound.label == request.name for sound in parts["train"])
    tell(
        f"training '{request.name}' from {counted(new, 'recording')} and "
        f"{counted(len(parts['train']) - new, 'other sound')}: {counted(config.steps, 'step')}"
    )
    counts = [StepCount(config.steps, progress)] if progress else []
    trained = train(config, progress=False, callbacks=counts).parent / "last"
    model = _averaged(start, load_checkpoint(trained), request)
    _keep_feedback(start, model, request, encoder)
    tell("measuring before and after")
    models = (start.folder, model)
    scores = [compare(*models, mixtures, "held-out recordings", device=request.device)]
    if check := request.check:
        scores.append(compare(*models, check, check, request.audio, request.every, request.device))
    return FinetuneReport(model, scores)


class NewAndOld:
    """Sampler of `clipsep.training.data.mixing`: in every other mixture the new sound comes first.

    Its partners, and the pairs of the other mixtures, are other sounds, so that those are not unlearnt.
    """

    def __init__(self, dataset: PreparedDataset, n_sources: int, seed: int, label: str):
        labels = np.array([clip.label for clip in dataset.clips])
        self._new = np.flatnonzero(labels == label)
        self._old = np.flatnonzero(labels != label)
        self._n_sources, self._seed = n_sources, seed
        if not len(self._new) or len(self._old) < n_sources:
            raise ClipsepError(
                f"There are too few clips of '{label}' or of other sounds: add some."
            )

    def __call__(self, index: int) -> Sequence[int]:
        """See `clipsep.training.data.mixing.Sampler`."""
        rng = np.random.default_rng((self._seed, index))
        old = rng.choice(self._old, self._n_sources, replace=False)
        return [rng.choice(self._new), *old[1:]] if index % 2 == 0 else list(old)


def _recordings(request: Finetuning) -> list[SoundFile]:
    found = sorted(find_files(request.clips, SOUND_SUFFIXES | VIDEO_SUFFIXES))
    if len(found) < FEWEST:
        raise UsageError(
            f"'{request.clips}' has {counted(len(found), 'recording')}: give at least {FEWEST}, better "
            "twenty of a few seconds each, in which little else is heard."
        )
    images = [request.image.absolute()] if request.image else []
    return [sound_file(folder, name, request.name, images) for folder, name in found]


def _others(request: Finetuning, tell: Callable[[str], None]) -> list[SoundFile]:
    folder = request.others
    if folder is None:
        folder = request.output / "backgrounds"
        write_backgrounds(folder)
        tell(
            "note: without --others FOLDER it is mixed with generated noises; recordings of what it is "
            "heard with, in a folder for each sound, teach more."
        )
    others = find_sounds([folder])
    if request.name in {sound.label for sound in others}:
        raise UsageError(
            f"'{folder}' also has a folder '{request.name}': leave it out of --others."
        )
    return others


def _split(sounds: list[SoundFile], split: str) -> list[SoundFile]:
    """One in four of each kind, by a hash of its id, is held out; the first of each at least."""
    kinds: dict[str | None, list[SoundFile]] = {}
    for sound in sorted(sounds, key=lambda sound: shuffle_key(sound.id)):
        kinds.setdefault(sound.label, []).append(sound)
    chosen = []
    for members in kinds.values():
        held_out = members[::_HELD_OUT] if len(members) > 1 else []
        chosen += held_out if split == "val" else [one for one in members if one not in held_out]
    return sorted(chosen, key=lambda sound: sound.id)


def _prepared(
    request: Finetuning, split: str, sounds: list[SoundFile], tell: Callable[[str], None]
) -> list[SoundFile]:
    """Prepare one split; returns what is in it now."""
    report = prepare_sounds(sounds, request.output / "data" / split, workers=1)
    for clip, reason in report.rejected.items():
        tell(f"left out: {clip}: {reason}")
    return [sound for sound in sounds if sound.id not in report.rejected]


def _embed(dataset: PreparedDataset, encoder: QueryEncoder, prompts: str) -> None:
    """Image embeddings of clips that have images, and for the others the embedding of their label."""
    stored = StoredEmbeddings(dataset, encoder.id)
    for shard in stored.missing_shards():
        rows: list[np.ndarray] = []
        clips = sorted(
            (clip for clip in dataset.clips if clip.shard == shard), key=lambda clip: clip.row
        )
        for clip in clips:
            try:
                rows.append(np.asarray(encoder.encode_images(dataset.frames(clip))))
            except UsageError:  # it has none
                text = np.asarray(encode_prompted(encoder, [clip.label or ""], prompts))
                rows.append(np.repeat(text, clip.n_frames, axis=0))
        stored.write(shard, np.concatenate(rows))


def _config(request: Finetuning, start: Checkpoint) -> TrainingConfig:
    """Configure the training: small steps from the start, the new sound in every other mixture."""
    settings = start.config
    sampler = f"{__name__}.{NewAndOld.__name__}"
    trust(sampler)  # alone: what else the config names comes from the checkpoint
    noise_heads = settings.model.noise_heads
    loss: dict[str, Any] = {"kind": "mask", "sdr_weight": 0.3, "clamp": "none"}
    if noise_heads:
        loss = {"kind": "nit", "sdr_weight": 0.3, "union": "either", "query_only_weight": 0.5}
    return TrainingConfig.model_validate(
        {
            "name": _slug(request.name),
            "output": request.output / "training",
            "data": {"train": request.output / "data" / "train"},
            "init": str(request.model),
            "query_encoder": settings.query_encoder,
            "query": "hybrid" if request.image else "text",
            "prompts": settings.prompts,
            "model": settings.model,
            "spectral": settings.spectral,
            "mixing": {
                "margin": 1.0,
                "jitter": 0.5,
                "target_rms": 0.1,
                "speed_perturb": 0.05,
                "extra_source_prob": 0.2,
                "sampler": sampler,
                "sampler_options": {"label": request.name},
            },
            "loss": {**loss, "absent_query_prob": 0.1},
            "optimizer": {
                "learning_rate": request.learning_rate,
                "weight_decay": 0.01,
                "warmup_steps": min(20, request.steps // 4),
                "decay_until": request.steps,
            },
            "steps": request.steps,
            "batch_size": request.batch_size,
            "validate_every": request.steps,
            "save_every": 100,
            "seed": request.seed,
            "device": request.device,
        }
    )


def _averaged(start: Checkpoint, end: Checkpoint, request: Finetuning) -> Path:
    """Between both models, with the name of the sound in its own."""
    import torch

    before, share = start.model.state_dict(), request.share
    weights = {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in end.model.state_dict().items()
    }
    end.model.load_state_dict(weights)
    training = {
        "from": {"name": start.config.name, "sha256": start.config.sha256},
        "new_sound": request.name,
        "share": share,
        "config": end.config.training["config"],
    }
    config = start.config.model_copy(
        update={
            "name": f"{start.config.name}-{_slug(request.name)}",
            "known_sounds": sorted({*start.config.known_sounds, request.name}),
            "training": training,
        }
    )
    folder = request.output / "model"
    save_checkpoint(folder, config, end.model)
    return folder


def _keep_feedback(
    start: Checkpoint, model: Path, request: Finetuning, encoder: QueryEncoder
) -> None:
    """Keep what the start says of queries and answers, and add the new sound to what it knows.

    The confidence is not fitted again: the weights are near to those that it was fitted to.
    """
    if start.config.known is None:
        return
    labels = start.config.known_sounds
    if request.name not in labels:
        labels = [*labels, request.name]
        text = np.asarray(encode_prompted(encoder, [request.name], start.config.prompts))
        image = None
        if request.image is not None:
            image = np.asarray(encoder.encode_images([open_image(request.image)]))
        copy_known_sounds(start.folder, model, text, image)
    else:
        copy_known_sounds(start.folder, model)
    feedback = {"known": start.config.known, "confidence": start.config.confidence}
    config = load_config(model)
    save_config(model, config.model_copy(update={"known_sounds": labels, **feedback}))


def _slug(name: str) -> str:
    return "-".join(re.findall(r"\w+", name.lower())) or "sound"
