"""Speed of training, against the published loop: `python -m benchmarks.training`.

Prints Markdown tables: samples per second of the published way of a step and of ours, where the
published step's time goes, and how much faster the loader is than the steps. It writes its own
synthetic clips. Needs librosa, which the published loop calls: pip install 'clipsep[bench]'. Takes some
minutes and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.speed import cpu_name
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import SAMPLE_RATE, PreparedDataset
from clipsep.datasets.writer import DatasetWriter, stage_clip
from clipsep.models.clipsep import CLIPSep
from clipsep.models.registry import build_model
from clipsep.queries.embedded.encoder import DIM as EMBEDDED_DIM
from clipsep.training.config import TrainingConfig, load_config
from clipsep.training.data.batches import collate
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.task import SeparationTask

CONFIGS = Path(__file__).parents[1] / "configs"
CLIPS, SECONDS = 16, 10
STEPS = 2  # timed in each repeat, after one that is not
PRECISION = {"32": "32-true", "bf16": "bf16-mixed"}


class Cost(NamedTuple):
    """Seconds per step or batch: by the clock, and of the processor."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Cost:
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Cost) -> Cost:
        return Cost(self.wall - start.wall, self.cpu - start.cpu)


def write_clips(root: Path) -> tuple[Path, PreparedDataset]:
    """Write the same synthetic clips twice: as the files of the published loop, and as a data set."""
    random = np.random.default_rng(0)
    files, prepared = root / "files", root / "prepared"
    DatasetWriter(prepared)
    for number in range(CLIPS):
        phase = np.arange(SECONDS * SAMPLE_RATE) * random.uniform(0.05, 0.5)
        sound = 0.2 * np.sin(phase) + 0.05 * random.standard_normal(len(phase))
        coarse = random.integers(0, 255, (SECONDS, 28, 28, 3), dtype=np.uint8)
        frames = [Image.fromarray(p).resize((224, 224), Image.Resampling.BICUBIC) for p in coarse]
        folder = files / f"{number:02d}"
        folder.mkdir(parents=True)
        soundfile.write(folder.with_suffix(".wav"), sound, SAMPLE_RATE)
        for second, frame in enumerate(frames, start=1):
            frame.save(folder / f"{second:06d}.jpg", quality=92)
        stage_clip(prepared, folder.name, "0", None, sound, frames)
    DatasetWriter(prepared).close()
    return files, PreparedDataset(prepared)


def random_embeddings(dataset: PreparedDataset, dim: int) -> StoredEmbeddings:
    """Store embeddings of the size of an encoder's."""
    embeddings = StoredEmbeddings(dataset, f"random-{dim}")
    for shard in dataset.shards:
        n_frames = dataset.frame_offsets(shard)[-1]
        embeddings.write(shard, np.random.default_rng(0).standard_normal((n_frames, dim)))
    return embeddings


class Training:
    """Our loop: the package's data set, task and optimizer, driven by Lightning as `clipsep train` does."""

    def __init__(self, config: TrainingConfig, dataset: PreparedDataset, dim: int):
        self.config = config
        settings = config.model.model_copy(update={"query_dim": dim})
        self.model = build_model(settings, config.spectral.n_bands)
        self.data = MixtureDataset(
            dataset,
            random_embeddings(dataset, dim),
            [],
            config.mixing,
            config.spectral.segment_samples,
            config.seed,
            train=True,
            length=1_000_000,
        )

    def run(self, steps: int) -> list[Cost]:
        """Costs of ``steps`` steps, after one that is not counted."""
        times = StepTimes()
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=PRECISION[self.config.precision],
            max_steps=steps + 1,
            gradient_clip_val=self.config.optimizer.gradient_clip,
            callbacks=[times],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(SeparationTask(self.model, self.config, None), self.loader())
        return times.steps

    def loader(self) -> DataLoader:
        return DataLoader(self.data, self.config.batch_size, collate_fn=collate)


class StepTimes(pl.Callback):
    """From the end of one step to the end of the next, loading included."""

    def __init__(self):
        self.steps: list[Cost] = []
        self._last: Cost | None = None

    def on_train_batch_end(self, *_) -> None:
        now = Cost.now()
        if self._last:
            self.steps.append(now.since(self._last))
        self._last = now


class Published:
    """The published loop, timed in the same way.

    Attributes:
        parts: CPU seconds per step of each part of the work, one value per run.
    """

    def __init__(self, files: Path, batch_size: int):
        from benchmarks.published_loop import PublishedLoop

        self.loop = PublishedLoop(files, batch_size)
        self.parts: dict[str, list[float]] = {}

    def run(self, steps: int) -> list[Cost]:
        """As `Training.run`."""
        self.loop.step()
        self.loop.stopwatch.seconds.clear()
        costs = timed(self.loop.step, steps)
        for part, seconds in self.loop.stopwatch.seconds.items():
            self.parts.setdefault(part, []).append(seconds / steps)
        return costs

    @torch.no_grad()
    def segment(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """Mask of one query for one segment."""
        features = self.loop.sound_net.eval()(log_magnitude)
        weights = self.loop.query_net(torch.zeros(512)).sigmoid() * self.loop.scale
        self.loop.sound_net.train()
        return (torch.einsum("k,bkft->bft", weights, features) + self.loop.bias).sigmoid()

    @torch.no_grad()
    def difference(self, model: CLIPSep) -> float:
        """Largest difference of the features for the same weights, relative to their size."""
        self.loop.sound_net.copy_weights(model.network)
        mixture = torch.randn(2, 1, 256, 256)
        published = self.loop.sound_net(mixture)
        ours = model.network.head(model.network(mixture))
        return float((ours - published).abs().max() / published.std())


def median(costs: list[Cost], items: int = 1) -> Cost:
    """Medians per item, where each cost is of ``items``."""
    walls, cpus = zip(*costs, strict=True)
    return Cost(statistics.median(walls) / items, statistics.median(cpus) / items)


def interleaved(ways: dict[str, Callable[[], list[Cost]]], repeats: int) -> dict[str, list[Cost]]:
    """Run the ways in turn, so that a change in the machine's other load meets all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            costs[name] += run()
    return costs


def timed(work: Callable[[], object], times: int) -> list[Cost]:
    """Costs of a number of calls."""
    costs = []
    for _ in range(times):
        start = Cost.now()
        work()
        costs.append(Cost.now().since(start))
    return costs


def print_steps(costs: dict[str, list[Cost]], batch_size: int) -> None:
    """Throughput of each way, compared with the first."""
    print(
        "| a training step | samples/s | CPU s per sample | speed-up (by CPU) |\n|---|---|---|---|"
    )
    per_sample = {name: median(cost, batch_size) for name, cost in costs.items()}
    first = next(iter(per_sample.values()))
    for name, cost in per_sample.items():
        gain = f"{first.wall / cost.wall:.1f} ({first.cpu / cost.cpu:.1f})"
        print(f"| {name} | {1 / cost.wall:.2f} | {cost.cpu:.2f} | {gain} |")


def print_parts(parts: dict[str, list[float]], batch_size: int) -> None:
    """Where the published step's time goes."""
    print("\n| part of the published step | CPU s per sample |\n|---|---|")
    for part, seconds in parts.items():
        print(f"| {part} | {statistics.median(seconds) / batch_size:.3f} |")


def print_loaders(trainings: dict[str, Training], steps: dict[str, list[Cost]]) -> None:
    """Throughput of the loader alone beside that of the whole step."""
    print("\n| config | loader alone, items/s | step, samples/s | ratio |\n|---|---|---|---|")
    for name in ("clipsep", "mini"):
        training = trainings[name]
        size, batches = training.config.batch_size, iter(training.loader())
        loader = median(timed(partial(next, batches), 30), size).wall
        step = median(steps[name], size).wall
        print(f"| `{name}` | {1 / loader:.0f} | {1 / step:.2f} | {step / loader:.0f} |")


def print_inference(published: Published, model: CLIPSep, repeats: int) -> None:
    """One segment of 256 x 256 (4.1 s), one query."""
    segment, query = torch.randn(1, 1, 256, 256), torch.zeros(1, 1, 512)
    model.eval()

    def ours(bf16: bool = False) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.query_logits(segment, query).sigmoid()

    ways = {
        "published": lambda: timed(lambda: published.segment(segment), 5),
        "clipsep": lambda: timed(ours, 5),
        "clipsep, bf16": lambda: timed(lambda: ours(bf16=True), 5),
    }
    interleaved(ways, 1)
    print("\n| separating one segment | ms | CPU ms |\n|---|---|---|")
    for name, costs in interleaved(ways, repeats).items():
        cost = median(costs)
        print(f"| {name} | {1000 * cost.wall:.0f} | {1000 * cost.cpu:.0f} |")


def measure(root: Path, batch_size: int, repeats: int) -> None:
    """Everything, on clips below ``root``."""
    files, dataset = write_clips(root)
    paper = load_config(CONFIGS / "clipsep.yaml", [f"batch_size={batch_size}"])
    trainings = {
        "clipsep": Training(paper, dataset, 512),
        "clipsep, bf16": Training(paper.model_copy(update={"precision": "bf16"}), dataset, 512),
        "mini": Training(load_config(CONFIGS / "mini.yaml"), dataset, EMBEDDED_DIM),
    }
    published = Published(files, batch_size)
    difference = published.difference(trainings["clipsep"].model)
    print(
        f"Same weights: features differ by at most {difference:.0e} of their standard deviation.\n"
    )
    ways = {"published": published.run} | {name: t.run for name, t in trainings.items()}
    steps = interleaved({name: partial(run, STEPS) for name, run in ways.items()}, repeats)
    print_steps({name: costs for name, costs in steps.items() if name != "mini"}, batch_size)
    print_parts(published.parts, batch_size)
    print_loaders(trainings, steps)
    print_inference(published, trainings["clipsep"].model, repeats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="and cores")
    args = parser.parse_args()
    if find_spec("librosa") is None:
        raise SystemExit("The published loop needs librosa: pip install 'clipsep[bench]'.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.threads :])
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    print(
        f"{cpu_name()}, {args.threads} thread(s) and core(s), {date.today()}, batches of "
        f"{args.batch_size}, float32 where nothing else is said, medians of {STEPS * args.repeats} steps"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args.batch_size, args.repeats)


if __name__ == "__main__":
    main()
