"""Train the shipped models: `python -m recipes.everyday.train PACK CONFIG.yaml -o runs/mini`.

A loop for one device that makes its own mixtures (`scenes.py`): on a large GPU, some thousand a second. The
result is a checkpoint folder with averaged weights; its `log.jsonl` has the scores on validation mixtures.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import yaml
from pydantic import BaseModel, ConfigDict, model_validator
from torch import nn

from clipsep.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from clipsep.files import atomic_write
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings
from clipsep.spectral import SpectralSettings
from clipsep.training.losses import mask_loss, nit_loss
from recipes.everyday.pupil import Pupil
from recipes.everyday.scenes import Scene, Scenes, SceneSettings
from recipes.everyday.validation import Validation

_LEARNING = "learning.pt"  # the weights before averaging, and the optimizer's state


DATA = (
    "Mixtures made by recipes/everyday/scenes.py of recordings with labels, whose collections and licences "
    "docs/models/mini.md lists; queries are texts and images."
)


class RunSettings(BaseModel):
    """A training.

    Attributes:
        seconds: how long it may take, over which the learning rate falls to zero; 0 for ``steps`` instead.
        steps: its length where ``seconds`` is 0.
        constant: keep the learning rate instead, for a trial.
        bfloat16: compute the network in bfloat16, on GPUs and on CPUs that have AVX512-BF16.
        replicas: copies of the network that learn at the same time, each from a batch of its own and on a
            core of its own; their gradients are averaged. For CPUs.
        label_map_weight, others_weight: of two more losses, which need labels (`labels.py`).
        slots_weight: of the loss of the network's slots, if it has some (`slots.py`).
        slots_rate: learning rate of the slots relative to that of the rest, for a network that had none.
        noise_invariant: train with the noise heads that the model then needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: ModelSettings
    spectral: SpectralSettings
    scenes: SceneSettings = SceneSettings()
    batch_size: int = 192
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 300
    ema_decay: float = 0.999
    sdr_weight: float = 0.3
    label_map_weight: float = 0.0
    others_weight: float = 0.0
    slots_weight: float = 0.0
    slots_rate: float = 1.0
    noise_invariant: bool = False
    seconds: float = 0
    steps: int = 1000
    validate_every: float = 60  # seconds
    constant: bool = False
    bfloat16: bool = True
    replicas: int = 1
    compile: bool = True
    seed: int = 0

    @model_validator(mode="after")
    def _losses_fit(self) -> RunSettings:
        by_label = self.label_map_weight or self.others_weight
        if by_label and (self.scenes.by_images or self.noise_invariant):
            raise ValueError("label_map_weight and others_weight need labels and no noise heads")
        slots = getattr(self.model.network, "slots", 0)
        if self.slots_weight and (self.noise_invariant or slots < self.scenes.n_queries):
            raise ValueError("slots_weight needs a slot for each query, and no noise heads")
        return self


def train(pack: Path, settings: RunSettings, output: Path, device: str, init: Path | None) -> None:
    """Train and write ``output``: a checkpoint with averaged weights, and log.jsonl."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(4 if device == "cuda" else 1)  # on CPUs, a core for each replica
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    begin = time.time()
    scenes = Scenes(pack, settings.scenes, settings.spectral, device, settings.seed)
    lists = {name: Validation(scenes, name) for name in scenes.index["pairs"]}
    model = build_model(settings.model, settings.spectral.n_bands).to(device)
    if init:
        start_from(model, init)
    model = model.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    loss_of = mask_loss
    if (
        settings.compile
    ):  # of the loss alone: compiling the network takes longer than it saves in minutes
        torch._dynamo.config.suppress_errors = True
        loss_of = torch.compile(mask_loss)

    def learn(pupil: Pupil, scene: Scene) -> torch.Tensor:
        """Leave the gradients of a batch in a network; the loss."""
        with torch.autocast(device, torch.bfloat16, enabled=settings.bfloat16):
            logits, extra = pupil(scene)
        if settings.noise_invariant:
            loss = nit_loss(
                logits, scene.targets, noise_gamma=0.1, union="either",
                sdr_weight=settings.sdr_weight, query_only_weight=0.5,
            )  # fmt: skip
        else:
            loss = loss_of(logits, scene.targets, settings.sdr_weight, query_weight=scene.weight)
        (loss.total + extra).backward()
        return loss.total.detach()

    pupil = Pupil(
        model,
        scenes.label_text,
        settings.label_map_weight,
        settings.others_weight,
        settings.slots_weight,
        settings.sdr_weight,
    )
    pupil = pupil.to(device)
    pupils = [pupil, *(copy.deepcopy(pupil) for _ in range(settings.replicas - 1))]
    teams = ThreadPoolExecutor(settings.replicas)
    optimizer = torch.optim.AdamW(
        _groups(pupil, settings), lr=settings.learning_rate, fused=device == "cuda"
    )
    if init:
        _go_on_from(pupil, optimizer, init / _LEARNING)
        _spread(pupils)
    log = (output / "log.jsonl").open("a")
    start, step, progress, validated = None, 0, 0.0, time.time()
    print(f"{settings.name}: {sum(p.numel() for p in model.parameters())} parameters, "
          f"data in {time.time() - begin:.0f} s", flush=True)  # fmt: skip
    elapsed = 0.0
    ahead = ThreadPoolExecutor(1)

    @torch.no_grad()
    def draw() -> list[Scene]:
        return [scenes.draw(settings.batch_size) for _ in pupils]

    coming = ahead.submit(draw)
    while progress < 1:
        if step == 5:  # what is compiled and tuned at first does not count
            start = time.time()
        rate = settings.learning_rate * min(1.0, (step + 1) / settings.warmup_steps)
        if not settings.constant:
            rate *= 0.5 * (1 + math.cos(math.pi * progress)) + 1e-4
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        batches = coming.result()
        coming = ahead.submit(draw)
        loss = torch.stack(list(teams.map(learn, pupils, batches))).mean()
        _gather(pupils)
        nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _spread(pupils)
        step += 1
        _average(averaged, model, min(settings.ema_decay, step / (step + 10)))
        elapsed = time.time() - start if start else 0.0
        progress = elapsed / settings.seconds if settings.seconds else step / settings.steps
        if step % 20 == 0 and (progress >= 1 or time.time() - validated > settings.validate_every):
            validated = time.time()
            scores = {name: each.score(averaged) for name, each in lists.items()}
            line = {
                "step": step,
                "seconds": round(elapsed, 1),
                "mixtures": step * settings.batch_size * settings.replicas,
                "loss": round(float(loss.detach()), 4),
                **scores,
            }
            print(settings.name, json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            _save(averaged, settings, scenes, line, output)
            _save_learning(pupil, optimizer, output)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.time() - start if start else 0.0
    line = {
        "step": step,
        "seconds": round(seconds, 1),
        "mixtures": step * settings.batch_size * settings.replicas,
        "per_second": round((step - 5) * settings.batch_size * settings.replicas / seconds)
        if seconds
        else None,
        **{name: each.score(averaged) for name, each in lists.items()},
    }
    print(settings.name, "done", json.dumps(line), flush=True)
    log.write(json.dumps(line) + "\n")
    _save(averaged, settings, scenes, line, output)
    _save_learning(pupil, optimizer, output)


def _groups(pupil: Pupil, settings: RunSettings) -> list[dict]:
    """Parameters with and without weight decay, those of the slots apart, for an optimizer."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in pupil.named_parameters():
        kind = ".slots." in name, parameter.ndim > 1
        groups.setdefault(kind, []).append(parameter)
    return [
        {
            "params": parameters,
            "rate": settings.slots_rate if of_slots else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (of_slots, decays), parameters in groups.items()
    ]


def start_from(model: nn.Module, folder: Path) -> None:
    """Take over from a checkpoint all weights that have the same name and shape, and say how many."""
    stored = load_checkpoint(folder).model.state_dict()
    wanted = model.state_dict()
    fitting = {
        name: value
        for name, value in stored.items()
        if name in wanted and value.shape == wanted[name].shape
    }
    model.load_state_dict(fitting, strict=False)
    print(f"{len(fitting)} of {len(wanted)} tensors from {folder}", flush=True)


def _go_on_from(pupil: Pupil, optimizer: torch.optim.Optimizer, state: Path) -> None:
    """Take over from a training with the same losses what it was about to go on with."""
    if not state.is_file():
        return
    stored = torch.load(state, map_location=pupil.label_text.device, weights_only=True)
    if stored["pupil"].keys() == pupil.state_dict().keys():
        pupil.load_state_dict(stored["pupil"])
        groups = optimizer.state_dict()["param_groups"]  # rates are those of this training
        optimizer.load_state_dict({**stored["optimizer"], "param_groups": groups})
        print(f"going on from {state}", flush=True)


@torch.no_grad()
def _gather(networks: list[nn.Module]) -> None:
    """Give the first network the mean of the gradients of all, and the others none."""
    first, *others = networks
    gradients = [p.grad for p in first.parameters()]
    for other in others:
        torch._foreach_add_(gradients, [p.grad for p in other.parameters()])
        other.zero_grad(set_to_none=True)
    if others:
        torch._foreach_div_(gradients, len(networks))


@torch.no_grad()
def _spread(networks: list[nn.Module]) -> None:
    """Give all networks the weights of the first."""
    first, *others = networks
    for other in others:
        torch._foreach_copy_(list(other.parameters()), list(first.parameters()))


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Update an exponential moving average of the weights and of the norms' statistics."""
    pairs = [
        (a, b)
        for a, b in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True)
        if a.is_floating_point()
    ]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)


def _save(
    model: nn.Module, settings: RunSettings, scenes: Scenes, line: dict, output: Path
) -> None:
    """Write the averaged model as a checkpoint."""
    run = settings.model_dump(mode="json", exclude_defaults=True, exclude={"model", "spectral"})
    config = CheckpointConfig(
        name=settings.name,
        model=settings.model,
        spectral=settings.spectral,
        query_encoder=scenes.index["encoder"],
        prompts="plain",
        known_sounds=scenes.labels,
        training={"recipe": run, "validation": line, "data": DATA},
    )
    save_checkpoint(output, config, model, torch.float16)


def _save_learning(pupil: Pupil, optimizer: torch.optim.Optimizer, output: Path) -> None:
    """Write what the next part of a training goes on from, beside the averaged model."""
    with atomic_write(output / _LEARNING) as temporary:
        state = {"pupil": pupil.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, temporary)


def main() -> None:
    """Train one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--init",
        type=Path,
        help="a checkpoint folder; the output of a training with the same settings goes on where it ended",
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="a.b=c, as YAML")
    options = parser.parse_args()
    config = yaml.safe_load(options.config.read_text())
    for change in options.set:
        key, _, value = change.partition("=")
        *path, last = key.split(".")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[last] = yaml.safe_load(value)
    train(options.pack, RunSettings(**config), options.output, options.device, options.init)


if __name__ == "__main__":
    main()
