"""The order in which training visits clips: a pure function of (seed, index), so that runs resume exactly.

Clips and shards are numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """Clips that are visited in one go, and mixed with each other only.

    Attributes:
        number: counted from the beginning of the run, over all epochs.
        shards: those that hold the clips.
        clips: all clips among which partners are drawn.
        visits: the same clips in the order of their visits.
    """

    number: int
    shards: Sequence[int] | np.ndarray
    clips: Sequence[int] | np.ndarray
    visits: np.ndarray


class ClipOrder:
    """Visits every clip once per epoch, window by window, in a new order each epoch.

    An epoch deals all shards into windows of nearly equal numbers of shards. As long as one window is
    in use, no other clips are needed, so that they may lie far away.

    Args:
        shard_numbers: the number of each clip's shard, int [clips].
        window: shards in a window, at most; None for all clips in one window.
    """

    def __init__(self, shard_numbers: np.ndarray, seed: int, window: int | None = None):
        self.seed = seed
        self.n_clips = len(shard_numbers)
        self.n_shards = int(shard_numbers.max(initial=-1)) + 1
        self.n_windows = -(-self.n_shards // window) if window else 1
        if self.n_windows > 1:
            sizes = np.bincount(shard_numbers, minlength=self.n_shards)
            by_shard = np.argsort(shard_numbers, kind="stable")
            self._clips_of = np.split(by_shard, np.cumsum(sizes)[:-1])
            self._sizes = sizes

    @property
    def fewest_clips(self) -> int:
        """Clips in the smallest window that any epoch can deal."""
        if self.n_windows == 1:
            return self.n_clips
        return int(np.sort(self._sizes)[: self.n_shards // self.n_windows].sum())

    def locate(self, index: int) -> tuple[Window, int]:
        """Which window item ``index`` falls into, and the clip that it visits there."""
        epoch, position = divmod(index, self.n_clips)
        _, starts = self._deal(epoch)
        part = int(np.searchsorted(starts, position, side="right")) - 1
        window = self.window(epoch * self.n_windows + part)
        return window, int(window.visits[position - starts[part]])

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as a run; the present window and the next
    def window(self, number: int) -> Window:
        """Window ``number`` of the run."""
        epoch, part = divmod(number, self.n_windows)
        if self.n_windows == 1:
            visits = np.random.default_rng((self.seed, epoch, 0)).permutation(self.n_clips)
            return Window(number, range(self.n_shards), range(self.n_clips), visits)
        parts, _ = self._deal(epoch)
        clips = np.concatenate([self._clips_of[shard] for shard in parts[part]])
        visits = np.random.default_rng((self.seed, epoch, 1, part)).permutation(clips)
        return Window(number, parts[part], clips, visits)

    @lru_cache(maxsize=2)  # noqa: B019 - the present epoch and the next
    def _deal(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """List the shards of an epoch's windows, and the position at which each window starts."""
        if self.n_windows == 1:
            return [], np.zeros(1, int)
        shards = np.random.default_rng((self.seed, epoch, 2)).permutation(self.n_shards)
        parts = np.array_split(shards, self.n_windows)
        sizes = [self._sizes[part].sum() for part in parts]
        return parts, np.concatenate([[0], np.cumsum(sizes)[:-1]])
