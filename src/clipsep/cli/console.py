"""What commands share: types of common options, tables, and a progress bar on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.messages import counted, printable

if TYPE_CHECKING:  # rich is imported where something is drawn: it takes a tenth of the start
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from clipsep.datasets.prepare.videos import PrepareReport

_SECONDS_BETWEEN_DRAWINGS = 0.1

Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or mps.")
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes; by default one per core.")
]


def _checked_address(address: str | None) -> str | None:
    if address is not None:
        from clipsep.parallel.on_ray import check_address

        check_address(address)
    return address


Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        callback=_checked_address,
        help="Work on Ray: local (started here), auto or HOST:PORT.",
    ),
]
Sensitivity = Annotated[
    float,
    typer.Option(
        metavar="NUMBER",
        min=0.0,
        max=1.0,
        help="Above 0.5 finds more, and lets more of other sounds through; below, less.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def table_of(*columns: str, right: tuple[int, ...] = (1, 2)) -> Table:
    """Lay out a plain table; ``right`` are the numbers of the columns that hold numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, column in enumerate(columns):
        # Folded, not cut: a path must stay whole.
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    return table


def cells(*values: object) -> list[Text]:
    """As they are: a bracket in a query is not markup, and an escape sequence in a name is shown."""
    from rich.text import Text

    return [Text(printable(value)) for value in values]


def stdout() -> Console:
    """Make a console that does not fold lines when nobody looks at them."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000)


def print_prepared(noun: str, report: PrepareReport, output: Path) -> None:
    """Print what became of the sources of a data set; ``noun`` says what one is."""
    for clip_id, reason in report.rejected.items():
        print(f"rejected {printable(clip_id)}: {printable(reason)}")
    print(
        f"{noun}s: {report.stored + report.already_there} stored in {output} ({report.stored} of them "
        f"now), {len(report.rejected)} rejected."
    )
    if report.lost:
        print(
            f"lost with damaged or missing shards: {counted(report.lost, noun)}; give their sources to "
            "this command again."
        )


@contextmanager
def progress_bar(task: str) -> Iterator[Callable[[float, float | None], None] | None]:
    """Give a function that moves a bar on the terminal; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Without the thread that draws the bar by itself: a process with threads cannot be forked.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        number = bar.add_task(task, total=None)
        drawn = 0.0

        def move(done: float, total: float | None) -> None:
            nonlocal drawn
            now = time.monotonic()
            is_due = now - drawn > _SECONDS_BETWEEN_DRAWINGS
            drawn = now if is_due else drawn
            bar.update(number, completed=done, total=total, refresh=is_due)

        yield move
