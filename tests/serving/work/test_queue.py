"""Who is taken into the queue of a server, and who is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import Busy, Job, JobQueue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(Limits(waiting=1), tmp_path)
    yield queue
    queue.close()


def test_the_first_request_never_takes_the_place_of_one_that_waits(queue: JobQueue) -> None:
    """Also while the thread has not taken it yet: nothing depends on how fast that is."""
    go_on = threading.Event()

    def job(client: str) -> Job:
        return Job(queue.new_folder(), client, lambda job: go_on.wait(10))

    with queue._change:  # so that the thread takes nothing
        first, second = queue.submit(job("a")), queue.submit(job("b"))
        with pytest.raises(Busy, match="2 requests come first"):
            queue.submit(job("c"))
    go_on.set()
    for each in (first, second):
        for _ in range(1000):
            if each.finished:
                break
            threading.Event().wait(0.01)
        assert each.state == "done"
    queue.submit(job("c"))
