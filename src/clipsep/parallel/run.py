"""Work on many items: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from clipsep.parallel.processes import in_processes
from clipsep.parallel.task import Item, Result, Run, Task, cores


def run_many(
    task: Task[Item, Result],
    items: Sequence[Item],
    workers: int | None = None,
    ray: str | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Apply a task to every item; yields each item and its result as it is finished, in any order.

    Only items and results travel between the workers, so both should be small. A worker that dies
    is replaced and its items are done again, at last each of them alone.

    Args:
        workers: processes; by default one for each core (or each GPU, of a cluster that has some).
        ray: address of a Ray cluster: "local" starts one on this machine, "auto" is the one of which
            this machine is part, HOST:PORT any other. None: processes of this machine.

    Raises:
        ClipsepError: if no worker can be started, the cluster cannot be reached, or `task` raises it.
    """
    if ray is not None:
        from clipsep.parallel.on_ray import run_on_ray

        run = run_on_ray(task, items, workers, ray)
    else:
        workers = min(workers or cores(), len(items))
        run = _in_this_process(task, items) if workers < 2 else in_processes(task, items, workers)
    guilty = yield from run
    for item in guilty:
        yield item, task.died(item)


def local_workers(device: str) -> int:
    """Count the processes for work with a network on this machine: one for a GPU, or one per core."""
    from clipsep.devices import means_gpu

    return 1 if means_gpu(device) else cores()


def _in_this_process(task: Task[Item, Result], items: Sequence[Item]) -> Run:
    for item in items:
        yield item, task(item)
    return []
