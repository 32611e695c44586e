"""The evaluation of a model on a list of test mixtures, from the two names to a report."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from clipsep._version import __version__
from clipsep.checkpoint import WEIGHTS_NAME, CheckpointConfig, find_checkpoint, load_config
from clipsep.devices import check_device, one_thread
from clipsep.engines.cost import model_cost
from clipsep.errors import UsageError, is_installed
from clipsep.evaluation.lists import read_any, split_name
from clipsep.evaluation.mixtures import Mixture
from clipsep.evaluation.queries import AUDIO, MixtureQueries, absent_sounds
from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.scoring.score import (
    MixtureJob,
    MixtureScorer,
    MixtureScores,
    find_estimates,
)
from clipsep.feedback import IMAGE, TEXT
from clipsep.messages import Progress
from clipsep.parallel.run import local_workers, run_many
from clipsep.plugins import trust
from clipsep.queries import QueryEncoder, load_query_encoder
from clipsep.queries.known import KnownSounds
from clipsep.queries.labels import LabelEncoder
from clipsep.separation.masking.query_masks import SENSITIVITY, sensitivity_bias

QUERIES = {TEXT: (TEXT,), IMAGE: (IMAGE,), AUDIO: (AUDIO,), "both": (TEXT, IMAGE)}
_ESTIMATES = {kind: f"{kind} query" for kind in (TEXT, IMAGE, AUDIO)}


def evaluate(
    model: str | Path | None,
    mixtures: str | Path,
    query: str | None = None,
    *,
    estimates: str | Path | None = None,
    root: str | Path | None = None,
    images: str | Path | None = None,
    prompts: str | None = None,
    binary: bool = False,
    sensitivity: float = SENSITIVITY,
    noise_heads: bool = False,
    exclude_others: bool = False,
    clap: str | Path | None = None,
    query_encoder: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    every: int = 1,
    examples: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Score a model on a list of test mixtures, as the paper does (Dong et al., 2023, section 4).

    Only the target is scored, over the whole mixture; masks are soft. Beside
    the model's estimates the mixture itself and ideal masks are scored, and the estimate for a sound that
    is not in the mixture is measured by its energy (leakage). A model without queries (PIT)
    is scored by the better of its first mask and what that leaves, as published: an upper bound. The
    result depends on neither the number of processes nor which other mixtures are scored.

    Args:
        model: name of a shipped one, folder or hub id; None with ``estimates``.
        mixtures: CSV file, see `clipsep.evaluation.mixtures`, or KIND:FILE, a public list of a kind that
            `clipsep.evaluation.lists` reads, for example ``audiosep:esc50_eval.csv``.
        query: "text" (the default), "image", "both" of them, or "audio": the target of another mixture of
            the list, with the same label.
        estimates: folder with a sound file per mixture, called by its id, that any separator has made of
            the mixture; they are scored instead of a model's.
        root: folder that the list's paths are relative to; by default the list's own.
        images: folder of images with one folder per label, of which each mixture is given one at
            random, instead of those that the list names.
        prompts: another prompt set than the model's, such as the published "ensemble".
        binary: masks of 0 and 1.
        sensitivity: see `clipsep.Separator.separate`.
        clap: folder with the files of a CLAP (extra ``scores``), by whose embeddings estimates are
            scored, too: CLAPScore, CLAPScore_A and the Frechet distance to the targets.
        noise_heads: whether to score, for a model that has some, also estimates by query masks joined with
            the first noise mask, min(1, m + n), as the published ``--pit``, and report the heads'
            activation.
        exclude_others: whether to name the other sounds of each mixture as what the estimate must not
            contain (``exclude`` of `clipsep.Separator.separate`): by their labels, or by the negative
            captions of CLAPSep's lists.
        query_encoder: where the model's encoder is, e.g. ``clip:/path/to/folder``.
        workers: processes; by default one per core, or one where there is a GPU.
        every: score only every n-th mixture, for a quick look.
        examples: number of mixtures whose sounds are kept, evenly spaced over the list.

    Raises:
        UsageError: for a wrong request: unknown model or query, a list that cannot be used, a sound
            that does not exist, a text that the model does not know.
        ClipsepError: if a sound or image cannot be read.
    """
    check_device(device)
    sensitivity_bias(sensitivity)
    folder, config, kinds = _judged(model, estimates, query, noise_heads)
    if exclude_others and not kinds:
        raise UsageError("--not-others needs a model that takes queries.")
    listed = read_any(mixtures, Path(root) if root else None)
    chosen = listed[::every]
    finished = Path(estimates) if estimates is not None else None
    files = {} if finished is None else find_estimates(finished, chosen)
    report_every = progress or (lambda done, total: None)
    report_every(0, 2 * len(chosen))
    queries: MixtureQueries | None = None
    if kinds and folder is not None and config is not None:
        queries = MixtureQueries(
            _encoder(config, query_encoder, device),
            prompts or config.prompts,
            Path(images) if images else None,
            KnownSounds.load(folder, config),
            listed,
        )
    examples_at = _spaced(len(chosen), examples)
    jobs: list[MixtureJob] = []
    scored: dict[str, MixtureScores] = {}
    # Rounding must not depend on the cores, and threads would wait for each other's processes.
    with one_thread():
        for job in _jobs(
            chosen, absent_sounds(listed), kinds, queries, examples_at, exclude_others
        ):
            job = replace(job, estimate=files.get(job.mixture.id))
            jobs.append(job)
            report_every(len(jobs), 2 * len(chosen))
        scorer = MixtureScorer(
            folder, device, binary, sensitivity, noise_heads, Path(clap) if clap else None
        )
        for job, scores in run_many(scorer, jobs, workers or local_workers(device)):
            scored[job.mixture.id] = scores
            report_every(len(jobs) + len(scored), 2 * len(chosen))
    return Report(
        model=_describe(folder, config, finished, files),
        mixture_list={
            **_describe_list(mixtures),
            "mixtures": len(listed),
            "every": every,
            "scored": len(chosen),
        },
        settings={
            "queries": list(kinds),
            "prompts": queries.prompts if queries and TEXT in kinds else None,
            "images": str(images) if images else None,
            "masks": "binary" if binary else "soft",
            "sensitivity": sensitivity,
            "noise_heads": noise_heads,
            "exclude_others": exclude_others,
            "clap": str(clap) if clap else None,
        },
        environment=_environment(),
        mixtures=[scored[mixture.id] for mixture in chosen],
        images={
            job.mixture.id: queries.images(job.mixture)[0]
            for job in jobs
            if queries and job.keep_sounds and IMAGE in kinds
        },
    )


def _judged(
    model: str | Path | None, estimates: str | Path | None, query: str | None, noise_heads: bool
) -> tuple[Path | None, CheckpointConfig | None, tuple[str, ...]]:
    """Find the model's folder, its config and the kinds of queries; nothing of these for estimates."""
    if (model is None) == (estimates is None):
        raise UsageError("Give a model or a folder of estimates, and not both.")
    if model is None:
        if noise_heads:
            raise UsageError("Noise heads are a model's: leave out --noise-heads with --estimates.")
        return None, None, ()
    folder = find_checkpoint(model)
    config = load_config(folder)
    kinds = _kinds(config, query)
    if noise_heads and not config.model.noise_heads:
        raise UsageError(f"The model '{config.name}' has no noise heads: leave out --noise-heads.")
    return folder, config, kinds


def _describe(
    folder: Path | None,
    config: CheckpointConfig | None,
    finished: Path | None,
    files: dict[str, Path],
) -> dict[str, Any]:
    if folder is not None and config is not None:
        return _describe_model(folder, config)
    assert finished is not None
    return _describe_estimates(finished, files)


def _kinds(config: CheckpointConfig, query: str | None) -> tuple[str, ...]:
    if query is not None and query not in QUERIES:
        raise UsageError(f"'{query}' is not a kind of query: choose {', '.join(QUERIES)}.")
    if config.model.kind != "pit":
        return QUERIES[query or TEXT]
    if query is not None:
        raise UsageError(
            f"The model '{config.name}' takes no queries (it is a PIT baseline): leave out --query, "
            "and the best of its masks is scored."
        )
    return ()


def _encoder(config: CheckpointConfig, name: str | None, device: str) -> QueryEncoder:
    if config.model.kind == "labelsep":
        return LabelEncoder(config.labels)
    trust(name or "")
    encoder = load_query_encoder(name or config.query_encoder, device, threads=1)
    if encoder.id != config.query_encoder:
        raise UsageError(
            f"The model '{config.name}' was trained with the query encoder "
            f"'{config.query_encoder}' and works with no other, not '{encoder.id}'."
        )
    return encoder


def _jobs(
    mixtures: list[Mixture],
    absent: dict[str, Mixture],
    kinds: tuple[str, ...],
    queries: MixtureQueries | None,
    examples: set[int],
    exclude_others: bool,
) -> Iterator[MixtureJob]:
    """List what is to be done for each mixture, with its queries embedded."""

    def embed(mixture: Mixture) -> dict[str, np.ndarray]:
        if queries is None:
            return {}
        return {_ESTIMATES[kind]: queries.embed(kind, mixture) for kind in kinds}

    for number, mixture in enumerate(mixtures):
        other = absent.get(mixture.id) if kinds else None
        yield MixtureJob(
            mixture=mixture,
            queries=embed(mixture),
            absent_queries=embed(other) if other else {},
            absent=other.query if other else None,
            excluded=queries.others(mixture) if queries and exclude_others else None,
            keep_sounds=number in examples,
        )


def _spaced(n: int, count: int) -> set[int]:
    """``count`` of ``n`` positions, evenly spaced."""
    return set(np.linspace(0, n - 1, min(count, n)).round().astype(int).tolist())


def _describe_model(folder: Path, config: CheckpointConfig) -> dict[str, Any]:
    digest = config.sha256 or hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    return {
        "name": config.name,
        "kind": config.model.kind,
        "sha256": digest,
        "query_encoder": config.query_encoder,
        "query_encoder_revision": config.query_encoder_revision,
        **asdict(model_cost(folder)),
    }


def _describe_estimates(folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    """As `_describe_model`; the digest is of all files in the order of the list."""
    digest = hashlib.sha256()
    for path in files.values():
        digest.update(path.read_bytes())
    return {
        "name": folder.resolve().name,
        "kind": "finished estimates",
        "sha256": digest.hexdigest(),
        "query_encoder": None,
        "query_encoder_revision": None,
    }


def _describe_list(mixtures: str | Path) -> dict[str, str]:
    content = split_name(mixtures)[1].read_bytes()
    return {"path": str(mixtures), "sha256": hashlib.sha256(content).hexdigest()}


def _environment() -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "clipsep": __version__,
        "onnxruntime": version("onnxruntime"),
        "torch": version("torch") if is_installed("torch") else None,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
