"""Which mixtures each device trains on at which step.

Mixtures are functions of their index alone, so all that sampling has to get right is that every index
is used once, whatever the number of devices, and that a resumed run starts at the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler


class StepSampler(Sampler[int]):
    """Indices of one device's mixtures, step after step.

    A step takes the next ``batch_size`` indices. They are dealt out in equal consecutive parts, first
    to the passes whose gradients are accumulated, then to the devices; so a step sees the same
    mixtures on any number of devices.

    Args:
        steps: length of the whole run.
        batch_size: mixtures of one step, over all devices and passes.
        parts: equal parts of a step, devices x passes.
        first_step: where the run stands, called when a pass over the data begins.
        rank: (number of this device, number of devices), likewise.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        parts: int,
        first_step: Callable[[], int],
        rank: Callable[[], tuple[int, int]],
    ):
        self.steps, self.batch_size = steps, batch_size
        self.part_size = batch_size // parts
        self.first_step, self.rank = first_step, rank

    def __len__(self) -> int:
        return self.steps * self.batch_size // self.rank()[1]

    def __iter__(self) -> Iterator[int]:
        rank, devices = self.rank()
        for step in range(self.first_step(), self.steps):
            start = step * self.batch_size + rank * self.part_size
            for part in range(start, (step + 1) * self.batch_size, devices * self.part_size):
                yield from range(part, part + self.part_size)


class EvenSampler(Sampler[int]):
    """Every n-th index for the n-th device: validation without repeats and without padding."""

    def __init__(self, length: int, rank: Callable[[], tuple[int, int]]):
        self.length, self.rank = length, rank

    def __len__(self) -> int:
        return len(range(self.length)[slice(*self._every())])

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length)[slice(*self._every())])

    def _every(self) -> tuple[int, int, int]:
        rank, devices = self.rank()
        return rank, self.length, devices
