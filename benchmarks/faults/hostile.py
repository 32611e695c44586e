"""Hostile input: mutated configs, weights, images, lists and requests, and bombs made by hand.

What is accepted must work in bounded memory and time; what is not must be refused in one sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import seeds
from benchmarks.faults.isolation import HARMLESS, run_attempts
from benchmarks.faults.mutations import mutate, mutate_json, mutate_text
from benchmarks.faults.tally import Tally

Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """Something that reads files of others.

    Attributes:
        name: in the table.
        share: attempts of a whole run.
        use: reads a file; whatever it returns is fine.
        contents: whole files and bombs, which are tried as they are first.
        change: how the others are made of them.
        suffix: of the file.
    """

    name: str
    share: int
    use: Callable[[Path], object]
    contents: list[bytes]
    change: Change = mutate
    suffix: str = ""


def run_hostile(folder: Path, scale: float, seed: int, only: str = "") -> Iterator[Tally]:
    """One line for each target with ``only`` in its name; 200,000 attempts in all with a scale of 1."""
    for target in all_targets(folder):
        if only not in target.name:
            continue
        tally = Tally(f"hostile {target.name}")
        path = folder / f"hostile{target.suffix}"

        def attempt(number: int, target: Target = target, path: Path = path) -> str:
            path.write_bytes(content_of(target, seed, number))
            target.use(path)
            return HARMLESS

        count = max(len(target.contents), round(scale * target.share))
        for outcome in run_attempts(attempt, count, target.contents and 20.0):
            tally.add(outcome)
        yield tally


def content_of(target: Target, seed: int, number: int) -> bytes:
    """Make the file of an attempt."""
    if number < len(target.contents):
        return target.contents[number]
    chance = random.Random(f"{seed}-{target.name}-{number}")
    return target.change(chance.choice(target.contents), chance)


def all_targets(folder: Path) -> list[Target]:
    """Every reader of files from elsewhere but media, which are in media.py."""
    model = seeds.write_model(folder / "model")
    config = (model / "config.json").read_bytes()
    exported = seeds.copy_shipped_model(folder / "exported")
    sounds = seeds.write_sounds(folder / "sounds")
    return [
        Target("YAML of a training", 30_000, seeds.read_config, seeds.YAML, mutate_text, ".yaml"),
        Target(
            "config.json with PyTorch",
            15_000,
            lambda path: seeds.use_model(model, "pytorch", config=path.read_bytes()),
            [config, *seeds.config_bombs(config)],
            mutate_json,
        ),
        Target(
            "config.json with ONNX Runtime",
            1_500,
            lambda path: seeds.use_model(exported, "onnx", config=path.read_bytes()),
            [(exported / "config.json").read_bytes()],
            mutate_json,
        ),
        Target(
            "header of weights",
            20_000,
            lambda path: seeds.use_model(model, "pytorch", weights=path.read_bytes()),
            [(model / "model.safetensors").read_bytes()],
        ),
        Target("image", 40_000, seeds.read_image, [*seeds.images(), *seeds.image_bombs()]),
        *(
            Target(
                f"list of {kind}",
                8_000,
                lambda path, kind=kind: seeds.read_list(kind, path, sounds),
                contents,
                mutate_text,
                suffix,
            )
            for kind, (contents, suffix) in seeds.LISTS.items()
        ),
        Target("CSV of labels", 15_000, seeds.read_labels, seeds.LABELS, mutate_text, ".csv"),
        Target("rejected.csv", 10_000, seeds.read_rejected, seeds.REJECTED, mutate_text, ".csv"),
        Target("report.jsonl", 10_000, seeds.read_journal, seeds.JOURNAL, mutate_text),
        Target("report.json", 8_500, seeds.read_report, seeds.REPORTS, mutate_json),
        Target("HTTP request", 10_000, seeds.send_request, seeds.requests()),
    ]
