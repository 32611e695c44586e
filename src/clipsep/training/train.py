"""`train`: put data, model and Lightning trainer together, and keep what a crash must not lose."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from clipsep.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint
from clipsep.devices import torch_device
from clipsep.errors import ClipsepError, UsageError, require
from clipsep.messages import counted
from clipsep.models.settings import ModelSettings
from clipsep.plugins import LOGGERS, load_plugin
from clipsep.training.callbacks.progress import StepLines, describe_start
from clipsep.training.callbacks.validation import ExportModel, ValidationExamples
from clipsep.training.config import SHIPPED_LOGGERS, TrainingConfig
from clipsep.training.data.batches import collate
from clipsep.training.data.sampling import EvenSampler, StepSampler
from clipsep.training.load import TrainingInputs, load_inputs
from clipsep.training.resume import (
    ResumePoint,
    RunRecord,
    SaveState,
    initial_model,
    resume_point,
)
from clipsep.training.task import SeparationTask

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


def train(
    config: TrainingConfig,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] = (),
) -> Path:
    """Run a training to its end; after a kill, the same call resumes it.

    On several devices it is called in a process for each; all return the same.

    Args:
        callbacks: Lightning callbacks of one's own, called before those that save.
        logger: Lightning loggers beside the CSV and TensorBoard files, for example ``WandbLogger()``.

    Returns:
        the folder of the best checkpoint, ``best``; of the last one, ``last``, if nothing was validated.

    Raises:
        ClipsepError: if data are missing or do not fit the config, or if the output holds another run,
            before anything is trained; or if the training diverges, or its state can no longer be
            saved, which leaves what was saved before as it was.
    """
    _quieten_libraries()
    device = torch.device(torch_device(config.device))
    if config.precision == "16" and device.type == "cpu":
        raise UsageError("Half precision (16) needs a GPU: use precision=bf16 or 32.")
    pl.seed_everything(config.seed, verbose=False)
    inputs = load_inputs(config)
    start = load_checkpoint(config.init) if config.init else None
    checkpoint = _describe(config, inputs, start)
    model, note = initial_model(checkpoint, start, config)
    if progress and is_main_process():
        n_clips = len(inputs.mixtures.dataset)
        print(describe_start(model, device, n_clips, config.output), file=sys.stderr)
        if note:
            print(note, file=sys.stderr)
    task = SeparationTask(model, config, inputs.text_queries)
    if config.compile:
        model.compile()
    export = ExportModel(config.output, checkpoint, config.best)
    run = RunRecord(checkpoint, config, inputs)
    hooks: list[Callback] = [*callbacks, export, run]
    if inputs.validation and config.examples:
        hooks.append(ValidationExamples(inputs.validation, config.examples))
    loggers = [logger] if isinstance(logger, Logger) else [*logger]
    loggers += _named_loggers(config)
    state = resume_point(config, task, run)
    with _failures_explained(config):
        if state is not None and state.step >= config.steps:
            task.load_state_dict(state.weights)
            export.load_state_dict(state.callbacks.get(export.state_key, {}))
            step = state.step
        else:
            validate = inputs.validation is not None
            trainer = _trainer(config, hooks, device, validate, progress, loggers)
            step = _fit(trainer, task, config, inputs, state)
        export.finish(step, task)
    best = config.output / "best"
    return best if export.best > float("-inf") and best.is_dir() else config.output / "last"


def _fit(
    trainer: pl.Trainer,
    task: SeparationTask,
    config: TrainingConfig,
    inputs: TrainingInputs,
    state: ResumePoint | None,
) -> int:
    """Train from the state, or from the start without one; returns the last step."""
    trainer.fit(
        task,
        _training_loader(config, inputs, trainer),
        _validation_loader(config, inputs, trainer),
        ckpt_path=state.path if state else None,
        weights_only=True,  # nothing in the file is run
    )
    return trainer.global_step


def is_main_process() -> bool:
    """Whether this is the one process of a training on several devices that speaks to the user."""
    return getattr(rank_zero_only, "rank", None) in (None, 0)


def moving_average(decay: float) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
    """Exponential moving average whose memory grows with the run.

    A constant decay near one would carry the random first weights for thousands of steps.
    """

    def average(mean: torch.Tensor, current: torch.Tensor, updates: int) -> torch.Tensor:
        present = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return present * mean + (1 - present) * current

    return average


def _describe(
    config: TrainingConfig, inputs: TrainingInputs, start: Checkpoint | None
) -> CheckpointConfig:
    """Describe a run in the models' config.json: all but the folders of run, data and ``init``."""
    settings = _complete(config.model, inputs)
    described = config.model_dump(mode="json", exclude={"output", "data"})
    if start is not None:
        described["init"] = start.config.model_dump(include={"name", "sha256"})
    return CheckpointConfig(
        name=config.name,
        model=settings,
        spectral=config.spectral,
        query_encoder=inputs.encoder.id if inputs.encoder else "none",
        query_encoder_revision=getattr(inputs.encoder, "revision", None),
        prompts=config.prompts,
        labels=inputs.labels if settings.kind == "labelsep" else [],
        training={"config": described},
    )


def _complete(settings: ModelSettings, inputs: TrainingInputs) -> ModelSettings:
    """Fill in what follows from the data: sizes of the query and of the label table."""
    if settings.kind == "labelsep":
        return settings.model_copy(update={"n_labels": len(inputs.labels)})
    if inputs.encoder is None:
        return settings
    return settings.model_copy(update={"query_dim": inputs.encoder.dim})


def _training_loader(
    config: TrainingConfig, inputs: TrainingInputs, trainer: pl.Trainer
) -> DataLoader:
    """Deal out this device's batches of the whole run in one pass, from the present step on."""
    try:
        part_size = config.part_size(trainer.world_size)
    except ValueError as error:
        raise UsageError(f"On {counted(trainer.world_size, 'device')}, {error}.") from error
    sampler = StepSampler(
        config.steps,
        config.batch_size,
        config.parts(trainer.world_size),
        lambda: trainer.global_step,
        lambda: (trainer.global_rank, trainer.world_size),
    )
    return DataLoader(
        inputs.mixtures,
        part_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=config.loader_workers,
    )


def _validation_loader(
    config: TrainingConfig, inputs: TrainingInputs, trainer: pl.Trainer
) -> DataLoader | None:
    if inputs.validation is None:
        return None
    count = len(inputs.validation)
    if count < trainer.world_size:  # a device without one would wait for the others for ever
        raise UsageError(
            f"The validation has {counted(count, 'mixture')}, too few for "
            f"{counted(trainer.world_size, 'device')}: use more validation_mixtures, or fewer devices."
        )
    sampler = EvenSampler(count, lambda: (trainer.global_rank, trainer.world_size))
    size = config.part_size(trainer.world_size)
    return DataLoader(inputs.validation, size, sampler=sampler, collate_fn=collate)


def _trainer(
    config: TrainingConfig,
    callbacks: list[Callback],
    device: torch.device,
    validate: bool,
    progress: bool,
    loggers: list[Logger],
) -> pl.Trainer:
    if config.optimizer.ema_decay:
        callbacks.append(WeightAveraging(avg_fn=moving_average(config.optimizer.ema_decay)))
    callbacks.append(SaveState(config, validate))  # behind the averaging, which it saves
    if progress:
        callbacks.append(StepLines(config.steps, config.log_every))
    several = config.nodes > 1 or config.devices != 1
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if several else "auto",
        sync_batchnorm=several and device.type == "cuda",  # there is none for CPUs
        precision=_PRECISION[config.precision],
        accumulate_grad_batches=config.accumulate,
        max_steps=config.steps,
        max_epochs=-1,
        gradient_clip_val=config.optimizer.gradient_clip,
        # Lightning counts passes here, not steps.
        val_check_interval=config.validate_every * config.accumulate if validate else None,
        check_val_every_n_epoch=None if validate else 1,
        limit_val_batches=1.0 if validate else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every,
        logger=[
            CSVLogger(config.output, name="log"),  # a new version per start, none overwritten
            TensorBoardLogger(config.output, name="tensorboard", version=""),
            *loggers,
        ],
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,  # that is for `SaveState`
        use_distributed_sampler=False,
    )


def _named_loggers(config: TrainingConfig) -> list[Logger]:
    """Those that the config names, made in every process; Lightning lets the first one alone write."""
    loggers: list[Logger] = []
    for name, options in config.loggers.items():
        if name == "wandb":
            require("wandb", extra="wandb", purpose="the logger 'wandb'")
            from pytorch_lightning.loggers import WandbLogger

            options = {"save_dir": config.output, "name": config.name, **options}
            loggers.append(WandbLogger(**options))
            continue
        made = load_plugin(LOGGERS, name, SHIPPED_LOGGERS)(**options)
        if not isinstance(made, Logger):
            raise ClipsepError(f"The logger '{name}' is not a Lightning Logger.")
        loggers.append(made)
    return loggers


@contextmanager
def _failures_explained(config: TrainingConfig) -> Iterator[None]:
    """Turn the failures of a good config on a real machine into one sentence each."""
    try:
        yield
    except ClipsepError as error:
        # PyTorch raises a loader process's error again with the text of its traceback in front.
        kind, sentence = type(error), str(error)
        if sentence.startswith("Caught "):
            raise kind(sentence.rpartition(f"{kind.__name__}: ")[2].strip()) from error
        raise
    except OSError as error:
        raise ClipsepError(
            f"Cannot write to '{config.output}': {error.strerror or error}. What was saved before is "
            "intact: run the same command again to resume from it."
        ) from error
    except torch.OutOfMemoryError as error:
        raise ClipsepError(
            f"The GPU's memory does not hold {counted(config.batch_size, 'mixture')} at once: accumulate="
            f"{2 * config.accumulate} takes the batch in smaller passes."
        ) from error
    except MisconfigurationException as error:
        raise UsageError(f"This machine cannot run the config: {error}") from error
    except Exception as error:
        if config.compile and type(error).__module__.startswith("torch._"):
            raise ClipsepError(
                f"torch.compile failed here ({str(error).splitlines()[0]}): set compile=false."
            ) from error
        raise


def _quieten_libraries() -> None:
    """Lightning's advice about loader workers and hardware is not for our users."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*TreeSpec.*")
    warnings.filterwarnings("ignore", message="Grad strides")
