"""From many sources to the clips of a data set: resumable, with bad sources listed, by many workers.

What a source is and how it is read is the task's business, the layout on disk the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clipsep.datasets.writer import StoreWriter, turn
from clipsep.errors import ClipsepError
from clipsep.parallel.run import run_many
from clipsep.parallel.task import Progress, Task


class Source(Protocol):
    """What becomes a clip of the same id; its fingerprint changes when it does.

    Its label replaces that of a clip in the data set; None leaves it, an empty one removes it.
    """

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def label(self) -> str | None: ...


@dataclass
class PrepareReport:
    """What became of the sources. ``rejected`` maps an id to the reason.

    Attributes:
        lost: clips of damaged or missing shards that were not stored again.
    """

    stored: int = 0
    already_there: int = 0
    lost: int = 0
    rejected: dict[str, str] = field(default_factory=dict)


def fill_store(
    output: Path,
    sources: Sequence[Source],
    stage: Task[Source, str | None],
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> PrepareReport:
    """Stage every source that is not in the data set yet, and move what was staged into shards.

    Args:
        stage: stages the clip of a source; gives None, or why the source is of no use.
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        ClipsepError: if the output cannot be written or the workers cannot be used.
    """
    try:
        labels = {one.id: one.label for one in sources if one.label is not None}
        writer = StoreWriter(output, labels)
        report = PrepareReport()
        waiting = [one for one in sources if not writer.finished(one.id, one.fingerprint)]
        waiting.sort(
            key=lambda source: turn(source.id)
        )  # so that shards can be written as it goes on
        writer.expect(source.id for source in waiting)
        finished = len(sources) - len(waiting)
        with closing(run_many(stage, waiting, workers, ray)) as outcomes:
            for source, reason in outcomes:
                if reason is None:
                    writer.add(source.id, source.fingerprint)
                    report.stored += 1
                else:
                    writer.reject(source.id, source.fingerprint, reason)
                finished += 1
                if progress:
                    progress(finished, len(sources))
        report.lost = writer.close()
    except OSError as error:
        raise ClipsepError(
            f"Cannot write to '{output}': {error.strerror or error}; what is finished stays, the same "
            "command goes on from there."
        ) from error
    for source in sources:
        rejected, reason = writer.rejected.get(source.id, (None, ""))
        if rejected == source.fingerprint:
            report.rejected[source.id] = reason
    report.already_there = len(sources) - report.stored - len(report.rejected)
    return report
