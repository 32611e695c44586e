"""What a model costs: parameters, and multiplications for each second of audio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipsep.checkpoint import load_checkpoint, summarize
from clipsep.errors import is_installed


@dataclass(frozen=True)
class Cost:
    """What running a model costs.

    Attributes:
        parameters: size of the mask network and what belongs to it; the query encoder is not counted.
        macs_per_second: multiply-accumulate operations of the mask network with one query for a second of
            audio, without transforms; None without PyTorch, which counts them.
    """

    parameters: int
    macs_per_second: float | None


def model_cost(folder: Path) -> Cost:
    """Count a checkpoint's cost; UsageError or ClipsepError if it cannot be loaded."""
    return Cost(summarize(folder).parameters, _macs(folder) if is_installed("torch") else None)


def _macs(folder: Path) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    checkpoint = load_checkpoint(folder)
    settings, spectral = checkpoint.config.model, checkpoint.config.spectral
    log_magnitude = torch.zeros(1, 1, spectral.n_bands, spectral.segment_frames)
    dim = settings.n_labels if settings.kind == "labelsep" else settings.query_dim
    query = None if settings.kind == "pit" else torch.zeros(1, 1, dim)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        checkpoint.model.query_logits(log_magnitude, query)
    seconds = spectral.segment_frames * spectral.hop_length / spectral.sample_rate
    return (
        counter.get_total_flops() / 2 / seconds
    )  # it counts a multiplication and an addition as two
