"""The Lightning side of mix-and-separate training: one step, one validation, the optimizer.

It gets batches of mixtures; `clipsep.training.train` decides where they come from and where checkpoints go.
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler

from clipsep.errors import ClipsepError
from clipsep.models.clipsep import MaskLogits
from clipsep.models.network import SeparationModel
from clipsep.models.transforms import apply_mask, log_magnitude, stft
from clipsep.plugins import LOSSES, load_plugin
from clipsep.training.config import SHIPPED_LOSSES, TrainingConfig
from clipsep.training.data.batches import MixtureBatch
from clipsep.training.losses import (
    Loss,
    Targets,
    make_targets,
    mask_loss,
    nit_loss,
    pit_loss,
    similarity_weight,
    with_absent_queries,
)

_SILENT_POWER = 1e-8  # -80 dB of full scale


class SeparationTask(pl.LightningModule):
    """Trains a model to separate mixtures of clips.

    Args:
        text_queries: embedding of each label of the data set, [labels, D]; None if it has none or
            the model takes no text. In validation they are the text queries, and in training too
            where the config says so.
    """

    text_queries: torch.Tensor | None  # a buffer

    def __init__(
        self, model: SeparationModel, config: TrainingConfig, text_queries: torch.Tensor | None
    ):
        super().__init__()
        self.model = model
        self.config = config
        self._own_loss = None
        if config.loss.kind not in SHIPPED_LOSSES:
            self._own_loss = load_plugin(LOSSES, config.loss.kind, SHIPPED_LOSSES)
        self._parts: list[dict[str, torch.Tensor]] = []  # losses of the step's passes so far
        self.register_buffer("text_queries", text_queries, persistent=False)

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> torch.Tensor:
        """One batch of sources [B, N or more, samples], the first N of which are queried, to the loss.

        Raises:
            ClipsepError: if the loss is not finite, from which no training recovers.
        """
        query = self._training_query(batch)
        targets = self._targets(batch.sources, n_targets=query.shape[1])
        if self.config.loss.absent_query_prob:
            chosen = _evenly_chosen(batch.position, self.config.loss.absent_query_prob)
            query, targets = with_absent_queries(query, targets, chosen)
        logits = self.model(targets.log_mixture, query)
        loss = self._loss(logits, targets, self._query_weight(query))
        if not loss.total.isfinite():
            raise diverged(self.global_step)
        self._log_mean_of_parts(loss)
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss.total

    def _log_mean_of_parts(self, loss: Loss) -> None:
        """Log a step's loss once, over all its passes and devices, as if it had been one batch."""
        parts = {"train/loss": loss.total, "train/noise_activation": loss.noise_activation}
        self._parts.append(
            {name: part.detach() for name, part in parts.items() if part is not None}
        )
        if len(self._parts) < self.config.accumulate:
            return
        for name in self._parts[0]:
            mean = torch.stack([part[name] for part in self._parts]).mean()
            self.log(name, mean, prog_bar=name == "train/loss", sync_dist=True)
        self._parts.clear()

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Loss with the training query; SDR of the first source, unless silent, for every kind of query."""
        size = len(batch.sources)
        targets = self._targets(batch.sources)
        # Hybrid training is validated with images, as published.
        query = self._plain_query(batch, step=0)
        loss = self._loss(self.model(targets.log_mixture, query), targets)
        self.log("val/loss", loss.total, batch_size=size, sync_dist=True)
        if loss.noise_activation is not None:
            activation = loss.noise_activation
            self.log("val/noise_activation", activation, batch_size=size, sync_dist=True)
        target = batch.sources[:, 0]
        # The SDR of silence is minus infinity: one such target would outweigh all others.
        heard = target.square().mean(dim=-1) > _SILENT_POWER
        count = int(heard.sum())
        for kind, query in self.validation_queries(batch).items():
            _, estimates = self.estimate(batch.sources, query)
            sdr = (_sdr(target, estimates[:, 0]) * heard).sum() / max(1, count)
            self.log(f"val/sdr_{kind}", sdr, batch_size=count, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW (Adam without weight decay) with the config's schedule, per step."""
        settings = self.config.optimizer
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        decay_until = settings.decay_until or self.config.steps

        def factor(step: int) -> float:
            if step < settings.warmup_steps:
                return (step + 1) / settings.warmup_steps
            progress = (step - settings.warmup_steps) / max(1, decay_until - settings.warmup_steps)
            return 1 - (1 - settings.final_factor) * min(1.0, progress)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _targets(self, sources: torch.Tensor, n_targets: int | None = None) -> Targets:
        """Of mixtures of sources [B, N, samples]; always in single precision."""
        spectral = self.config.spectral
        with torch.no_grad(), torch.autocast(sources.device.type, enabled=False):
            spectra = stft(sources, spectral.n_fft, spectral.hop_length)
            targets = make_targets(spectra, spectral, n_targets)
        if self.config.loss.weighted:
            return targets
        return targets._replace(weight=torch.ones_like(targets.weight))

    def _query_weight(self, query: torch.Tensor) -> torch.Tensor | None:
        """Weigh down queries [B, N, D] that may name the same sound, from the config's step on."""
        closest = self.config.loss.drop_closest
        if not closest or self.global_step < self.config.loss.drop_closest_steps:
            return None
        return similarity_weight(query, closest)

    def _loss(
        self, logits: MaskLogits, targets: Targets, query_weight: torch.Tensor | None = None
    ) -> Loss:
        settings = self.config.loss
        if self._own_loss is not None:
            return self._own_loss(logits, targets, **settings.options)
        if settings.kind == "pit":
            return pit_loss(logits, targets, settings.sdr_weight, settings.clamp)
        if settings.kind == "mask":
            return mask_loss(logits, targets, settings.sdr_weight, settings.clamp, query_weight)
        return nit_loss(
            logits,
            targets,
            settings.noise_weight,
            settings.noise_gamma,
            settings.union,
            settings.sdr_weight,
            settings.query_only_weight,
        )

    def _training_query(self, batch: MixtureBatch) -> torch.Tensor:
        query = self._plain_query(batch, self.global_step)
        if not self.config.query_noise:
            return query
        noise = torch.stack(
            [self._noise(query.shape[1:], position) for position in batch.position.tolist()]
        )
        scale = self.config.query_noise * query.norm(dim=-1, keepdim=True)
        return query + scale * noise.to(query.device)

    def _noise(self, shape: torch.Size, position: int) -> torch.Tensor:
        """Vectors of about unit length that belong to a mixture.

        Neither a resumed run nor another number of devices changes them.
        """
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + position)
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    def _plain_query(self, batch: MixtureBatch, step: int) -> torch.Tensor:
        """Make queries of the config's kind; hybrid training takes frames on even steps, as published."""
        kind = self.config.query
        if kind == "hybrid":
            kind = "image" if step % 2 == 0 else "text"
        if kind != "text":
            return batch.clip_query
        assert self.text_queries is not None
        return self.text_queries[batch.label]

    def validation_queries(self, batch: MixtureBatch) -> dict[str, torch.Tensor]:
        """List the kinds of queries that are scored, [B, N, D] each; "best" stands for no query (PIT)."""
        if self.config.query == "none":
            return {"best": batch.clip_query}
        queries = {}
        if self.config.query_encoder != "labels" and batch.clip_query.shape[-1] > 1:
            queries["audio" if self.config.query == "audio" else "image"] = batch.clip_query
        if self.text_queries is not None:
            queries["text"] = self.text_queries[batch.label]
        return queries

    def estimate(
        self, sources: torch.Tensor, query: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Separate mixtures of sources [B, N, samples] as at test time.

        Returns:
            masks [B, N, F, T] and estimates [B, N, samples]; of models without queries in the order in
            which the first estimate is nearest to the first source.
        """
        spectral, samples = self.config.spectral, sources.shape[-1]
        mixture = stft(sources.sum(dim=1), spectral.n_fft, spectral.hop_length)
        logits = self.model.query_logits(log_magnitude(mixture, spectral)[:, None], query)
        masks = logits.float().sigmoid()
        estimates = apply_mask(mixture[:, None], masks, spectral, samples)
        if self.config.query == "none":
            first = _sdr(sources[:, :1], estimates).argmax(dim=1)
            order = (
                first[:, None] + torch.arange(masks.shape[1], device=first.device)
            ) % masks.shape[1]
            rows = torch.arange(len(masks), device=first.device)[:, None]
            masks, estimates = masks[rows, order], estimates[rows, order]
        return masks, estimates

    def noise_masks(self, log_mixture: torch.Tensor, batch: MixtureBatch) -> torch.Tensor | None:
        """Masks of the noise heads [B, H, F, T], as in training; None for models without."""
        noise = self.model(log_mixture, self._plain_query(batch, self.global_step)).noise
        return None if noise is None else noise.float().sigmoid()


def diverged(step: int) -> ClipsepError:
    """Make the error for a loss, score or weight that is not finite."""
    return ClipsepError(
        f"The training diverged: at step {step} its numbers are not finite. Train again into another "
        "output with a lower optimizer.learning_rate."
    )


def _evenly_chosen(position: torch.Tensor, share: float) -> torch.Tensor:
    """Choose a share of mixtures by position alone, so that a resumed run chooses the same: [B], bool."""
    golden_ratio = 0.6180339887498949  # its multiples fall evenly between 0 and 1
    return (position.double() * golden_ratio) % 1 < share


def _sdr(target: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
    """10 log10 of the ratio of the target's energy to the error's, in dB: [..., samples] to [...]."""
    error = (target - estimate).square().sum(dim=-1)
    return 10 * torch.log10((target.square().sum(dim=-1) + 1e-8) / (error + 1e-8))
