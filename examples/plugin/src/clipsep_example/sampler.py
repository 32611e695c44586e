"""A sampler of one's own: clips meet in rounds, as in a tournament, so that every pair is mixed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipsep.datasets.reader import PreparedDataset


class Rounds:
    """In round r, clip i is mixed with clip i + 1 + r in a shuffled order; then all begins again.

    Args:
        dataset: whose clips are chosen; ``dataset.clips[i].label`` and so on may be looked at.
        n_sources: N, clips in a mixture.
        seed: of the training.
        stride: an option of the config, ``mixing.sampler_options.stride``.
    """

    def __init__(self, dataset: PreparedDataset, n_sources: int, seed: int, stride: int = 1):
        self._order = np.random.default_rng(seed).permutation(len(dataset))
        self._n_sources, self._stride = n_sources, stride

    def __call__(self, index: int) -> Sequence[int]:
        """The clips of mixture ``index``: depends on nothing else, so that a training can be resumed."""
        n = len(self._order)
        turn, first = divmod(index, n)
        shift = 1 + turn * self._stride % (n - 1)
        return [int(self._order[(first + k * shift) % n]) for k in range(self._n_sources)]
