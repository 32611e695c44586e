"""`clipsep study`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clipsep.cli.console import Ray


def study(
    plan: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="See docs/studies.md.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of all runs' configs.", metavar="key=value")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="By default runs/, then the study's name."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs at a time, each in its own process.")
    ] = 1,
    ray: Ray = None,
    report: Annotated[
        bool, typer.Option("--report", help="Only report what is finished; train nothing.")
    ] = False,
) -> None:
    """Train variants with several seeds, and compare them.

    Run the command again to go on after an interrupt: finished runs are kept.
    """
    from clipsep.workflows.study import Outcome, finished_runs, plan_runs, run_study
    from clipsep.workflows.study_plan import read_plan
    from clipsep.workflows.study_table import markdown, study_rows, write_study

    settings = read_plan(plan)
    settings = settings.model_copy(update={"changes": [*settings.changes, *(overrides or [])]})
    folder = output or Path("runs") / plan.stem
    runs = plan_runs(settings, folder)

    def tell(outcome: Outcome) -> None:
        print(f"{outcome.run.folder}: {outcome.failure or 'finished'}", file=sys.stderr, flush=True)

    if report:
        outcomes = finished_runs(runs)
    else:
        try:
            outcomes = run_study(runs, workers, ray, tell)
        except SystemExit as error:
            # Lightning turns Ctrl-C into this.
            raise KeyboardInterrupt from error
    files = write_study(settings, outcomes, folder, plan.stem)
    print(markdown(settings, study_rows(settings, outcomes), outcomes, plan.stem))
    print(f"Report: {', '.join(str(path) for path in files)}")
    if not report and any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)
