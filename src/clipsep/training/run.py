"""`train`: put data, model and Lightning trainer together, and keep what a crash must not lose."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    Callback,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, Sampler

from clipsep.checkpoint import CheckpointConfig, save_checkpoint
from clipsep.datasets.embeddings import EmbeddingStore
from clipsep.datasets.mixing import MixtureDataset
from clipsep.datasets.store import ClipStore
from clipsep.devices import choose_device
from clipsep.errors import ClipsepError, UsageError
from clipsep.models.registry import ModelSettings, build_model
from clipsep.queries import QueryEncoder, load_query_encoder
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.prompts import encode_prompted
from clipsep.training.config import TrainingConfig
from clipsep.training.module import SeparationTask

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
_RESUME = "resume"


def train(config: TrainingConfig, progress: bool = True) -> Path:
    """Run a training to its end; the same call again goes on after a kill.

    Returns:
        the folder of the best checkpoint (of the last one, if nothing was validated).

    Raises:
        ClipsepError: if data are missing or do not fit the config, before anything is trained.
    """
    _quieten_libraries()
    choose_device(config.device)
    pl.seed_everything(config.seed, verbose=False)
    store = ClipStore(config.data.train)
    validation = ClipStore(config.data.val) if config.data.val else None
    _require_labels(config, store, validation)
    encoder = _load_encoder(config, store)
    embeddings = _embeddings(config, store, encoder)
    labels = store.labels
    text_queries = _text_queries(config, encoder, store, validation)
    settings = _complete(config.model, encoder, labels)
    checkpoint = CheckpointConfig(
        name=config.name,
        model=settings,
        spectral=config.spectral,
        query_encoder=encoder.id if encoder else "none",
        query_encoder_revision=getattr(encoder, "revision", None),
        prompts=config.prompts,
        labels=labels if settings.kind == "labelsep" else [],
        training={"config": config.model_dump(mode="json", exclude={"output", "data"})},
    )
    task = SeparationTask(build_model(settings, config.spectral.n_bands), config, text_queries)
    export = ExportModel(config.output, checkpoint)
    trainer = _trainer(config, export, validate=validation is not None, progress=progress)
    trainer.fit(
        task,
        _training_loader(config, store, embeddings, labels, lambda: trainer.global_step),
        _validation_loader(config, validation, encoder, labels) if validation else None,
        ckpt_path=_resume_point(config, task),
        # Our own file, which holds more than weights (random states, schedules).
        weights_only=False,
    )
    export.save("last", task)
    best = config.output / "best"
    return best if best.is_dir() else config.output / "last"


class ResumingSampler(Sampler[int]):
    """Indices in order, from where the run stands: mixtures are functions of their index alone."""

    def __init__(self, length: int, first_index: Callable[[], int]):
        self.length, self.first_index = length, first_index

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first_index(), self.length))


class ExportModel(Callback):
    """Writes the checkpoint folders ``last/`` and ``best/`` (highest validation SDR).

    It must stand before weight averaging in the list of callbacks, because that takes the averaged
    weights out of the model when its turn at the end of a validation comes.
    """

    def __init__(self, output: Path, config: CheckpointConfig):
        self.output, self.config = output, config
        self.best = float("-inf")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: SeparationTask) -> None:
        """Save, and note the scores in the checkpoint."""
        metrics = {
            name: round(value.item(), 4)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        self.config.training.update(step=trainer.global_step, **metrics)
        self.save("last", pl_module)
        score = _score(metrics)
        if score > self.best:
            self.best = score
            self.save("best", pl_module)

    def save(self, name: str, task: SeparationTask) -> None:
        """Write the task's present weights to ``output/name``."""
        save_checkpoint(self.output / name, self.config, task.model)

    def state_dict(self) -> dict:
        """The best score comes back with the run."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict) -> None:
        """See `state_dict`."""
        self.best = state_dict["best"]


def moving_average(decay: float) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
    """Exponential moving average whose memory grows with the run.

    A constant decay near one would carry the random first weights for thousands of steps.
    """

    def average(mean: torch.Tensor, current: torch.Tensor, updates: int) -> torch.Tensor:
        present = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return present * mean + (1 - present) * current

    return average


def _score(metrics: dict[str, float]) -> float:
    """What makes a model the best: mean of the SDRs with text and with image queries."""
    sdrs = [value for name, value in metrics.items() if name.startswith("val/sdr")]
    return sum(sdrs) / len(sdrs) if sdrs else -metrics.get("val/loss", float("inf"))


def _resume_point(config: TrainingConfig, task: SeparationTask) -> Path | None:
    """State to go on from, if there is one; ClipsepError if it is damaged or of another model."""
    path = config.output / f"{_RESUME}.ckpt"
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise ClipsepError(
            f"'{path}' is damaged and the run cannot go on: delete it to begin anew; the models beside "
            "it are untouched."
        ) from error
    if _shapes(saved) != _shapes(task.state_dict()):
        raise UsageError(
            f"'{path}' belongs to a model of another shape: choose another output, or delete it."
        )
    return path


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _require_labels(config: TrainingConfig, *stores: ClipStore | None) -> None:
    """Raise ClipsepError if the config needs labels and a data set lacks some."""
    if config.query not in ("text", "hybrid"):
        return
    for store in filter(None, stores):
        unlabeled = _unlabeled(store)
        if unlabeled:
            raise ClipsepError(
                f"'{store.root}' has {unlabeled} clips without a label, which this config needs: "
                "prepare it with --labels."
            )


def _unlabeled(store: ClipStore) -> int:
    return sum(clip.label is None for clip in store.clips)


def _load_encoder(config: TrainingConfig, store: ClipStore) -> QueryEncoder | None:
    if config.query == "none":
        return None
    if config.query_encoder == "labels":
        return LabelEncoder(store.labels)
    return load_query_encoder(config.query_encoder)


def _embeddings(
    config: TrainingConfig, store: ClipStore, encoder: QueryEncoder | None
) -> EmbeddingStore | None:
    """Stored picture embeddings, unless the model never sees a picture."""
    if encoder is None or config.query == "text" or config.query_encoder == "labels":
        return None
    embeddings = EmbeddingStore(store, encoder.id)
    embeddings.require_complete()
    return embeddings


def _text_queries(
    config: TrainingConfig,
    encoder: QueryEncoder | None,
    store: ClipStore,
    validation: ClipStore | None,
) -> torch.Tensor | None:
    """Embeddings of the labels [labels, D]; training and validation share the list.

    None where nothing can be asked in words: no labels, or validation clips without one.
    """
    if encoder is None or not store.labels or (validation and _unlabeled(validation)):
        return None
    if validation and not set(validation.labels) <= set(store.labels):
        unknown = sorted(set(validation.labels) - set(store.labels))
        raise UsageError(f"The validation data have labels that training has not: {unknown[0]}.")
    try:
        return encode_prompted(encoder, store.labels, config.prompts)
    except UsageError:
        # Picture features have no words; that matters only to a model that is trained with texts.
        if config.query in ("text", "hybrid"):
            raise
        return None


def _complete(
    settings: ModelSettings, encoder: QueryEncoder | None, labels: list[str]
) -> ModelSettings:
    """Fill in what follows from the data: sizes of the query and of the label table."""
    if settings.kind == "labelsep":
        return settings.model_copy(update={"n_labels": len(labels)})
    return settings.model_copy(update={"query_dim": encoder.dim}) if encoder else settings


def _training_loader(
    config: TrainingConfig,
    store: ClipStore,
    embeddings: EmbeddingStore | None,
    labels: list[str],
    step: Callable[[], int],
) -> DataLoader:
    """All batches of the run in one pass, from the present ``step`` on."""
    dataset = MixtureDataset(
        store,
        embeddings,
        labels,
        config.mixing,
        config.spectral.segment_samples,
        config.seed,
        train=True,
        length=config.steps * config.batch_size,
    )
    sampler = ResumingSampler(len(dataset), lambda: step() * config.batch_size)
    return DataLoader(
        dataset, config.batch_size, sampler=sampler, num_workers=config.loader_workers
    )


def _validation_loader(
    config: TrainingConfig, store: ClipStore, encoder: QueryEncoder | None, labels: list[str]
) -> DataLoader:
    dataset = MixtureDataset(
        store,
        _embeddings(config, store, encoder),
        labels,
        config.mixing,
        config.spectral.segment_samples,
        config.seed,
        train=False,
        length=config.validation_pairs,
    )
    return DataLoader(dataset, config.batch_size)


def _trainer(
    config: TrainingConfig, export: ExportModel, validate: bool, progress: bool
) -> pl.Trainer:
    callbacks: list[Callback] = [export]
    if config.optimizer.average:
        callbacks.append(WeightAveraging(avg_fn=moving_average(config.optimizer.average)))
    callbacks.append(
        ModelCheckpoint(
            config.output,
            filename=_RESUME,
            every_n_train_steps=config.save_every,
            save_top_k=1,
            enable_version_counter=False,
        )
    )
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=config.log_every))
    return pl.Trainer(
        accelerator="gpu" if config.device == "cuda" else config.device,
        devices=1,
        precision=_PRECISION[config.precision],
        max_steps=config.steps,
        max_epochs=-1,
        gradient_clip_val=config.optimizer.gradient_clip,
        val_check_interval=config.validate_every if validate else None,
        check_val_every_n_epoch=None if validate else 1,
        limit_val_batches=1.0 if validate else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every,
        logger=CSVLogger(config.output, name="log"),  # a new version per start, none overwritten
        callbacks=callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _quieten_libraries() -> None:
    """Lightning's advice about loader workers and hardware is not for our users."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*TreeSpec.*")
