"""A recording on its way through separation: checked pieces in, results with their residual out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from clipsep.messages import Progress
from clipsep.separation.masking.query_masks import QueryMasks
from clipsep.separation.querying.asked import EncodedQueries
from clipsep.separation.result import SeparationResult
from clipsep.separation.waveforms import as_waveform, check_samples, same_channels


def pieces_of(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """Check blocks: as [C, n] of at most a second, with the number of axes they came with.

    Short pieces keep the memory, and the work of moving samples along, small for blocks of any size.
    """
    received, channels = 0, None
    for block in blocks:
        array = as_waveform(block)
        samples = np.atleast_2d(array)
        channels = same_channels(samples, channels)
        for start in range(0, samples.shape[1], sample_rate):
            piece = samples[:, start : start + sample_rate]
            check_samples(piece, received, sample_rate)
            received += piece.shape[1]
            yield piece, array.ndim


class SampleQueue:
    """The mixture's samples that wait for their targets."""

    def __init__(self) -> None:
        self._samples: np.ndarray | None = None

    def push(self, block: np.ndarray) -> None:
        """Take samples [C, n]."""
        waiting = self._samples
        self._samples = block if waiting is None else np.concatenate([waiting, block], axis=1)

    def pop(self, n: int) -> np.ndarray:
        """Return the oldest n samples, [C, n]."""
        assert self._samples is not None
        first, self._samples = self._samples[:, :n], self._samples[:, n:]
        return first


def result_of(
    queries: EncodedQueries,
    arrays: np.ndarray,
    waiting: SampleQueue,
    sample_rate: int,
    ndim: int,
    masks: QueryMasks,
) -> SeparationResult:
    """Targets [N, C, n] and the residual, with as many axes as the input had (``ndim``)."""
    residual = waiting.pop(arrays.shape[-1]) - arrays.sum(axis=0)
    if ndim == 1:
        arrays, residual = arrays[:, 0], residual[0]
    targets = dict(zip(queries.names, arrays, strict=True))
    feedback = dict(zip(queries.queries or queries.names, masks.feedback, strict=True))
    return SeparationResult(targets, residual, sample_rate, feedback)


def reported(
    results: Iterable[SeparationResult], progress: Progress | None, seconds: float | None = None
) -> Iterator[SeparationResult]:
    """Yield the same results; before each, ``progress`` hears how many seconds are done.

    Args:
        seconds: length of the whole recording, if known.
    """
    samples = 0
    for result in results:
        samples += result.residual.shape[-1]
        if progress:
            progress(samples / result.sample_rate, seconds)
        yield result


def joined(results: Iterable[SeparationResult]) -> SeparationResult:
    """Join the results of a recording, one after the other, to one."""
    blocks = list(results)
    return SeparationResult(
        {
            name: np.concatenate([block.targets[name] for block in blocks], axis=-1)
            for name in blocks[0].targets
        },
        np.concatenate([block.residual for block in blocks], axis=-1),
        blocks[0].sample_rate,
        blocks[-1].feedback,
    )
