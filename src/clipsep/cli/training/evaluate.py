"""`clipsep evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.cli.console import AsJson, Device, Sensitivity, cells, progress_bar, stdout, table_of
from clipsep.cli.recordings import EncoderName
from clipsep.errors import UsageError, require

if TYPE_CHECKING:
    from clipsep.evaluation.report.statistics import Report


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Shipped model, folder or Hugging Face id; leave it out with --estimates.",
            show_default=False,
        ),
    ] = None,
    mixtures: Annotated[
        Path | None, typer.Option(metavar="CSV", help="List of test mixtures.")
    ] = None,
    public_list: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="KIND:FILE",
            help="A public list in its own form: audiosep, clapsep, dcase, hive; or files, snr.",
        ),
    ] = None,
    estimates: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Score these files, <id>.wav each, not a model."),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="text (the default), image, both of these, or audio."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write a full report there."),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Add a page to listen to N mixtures to the report."),
    ] = 0,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Images, a folder per label, in place of the list's own."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--audio",
            "--root",
            metavar="FOLDER",
            help="Where paths of the list begin, if not beside it.",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="plain, photo, sound or ensemble; else the model's own."),
    ] = None,
    query_encoder: EncoderName = None,
    binary: Annotated[bool, typer.Option("--binary", help="Masks of 0 and 1, not soft.")] = False,
    sensitivity: Sensitivity = 0.5,
    noise_heads: Annotated[
        bool,
        typer.Option(
            "--noise-heads",
            help="Of CLIPSep-NIT: also score query masks joined with noise masks, and their activation.",
        ),
    ] = False,
    exclude_others: Annotated[
        bool,
        typer.Option(
            "--not-others",
            help="Name each mixture's other sounds as --not: labels, or CLAPSep's negative captions.",
        ),
    ] = False,
    clap: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Files of a CLAP: also CLAPScore, CLAPScore_A, Fréchet distance."
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Score every Nth mixture, for a quick look.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; by default one per core.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a model, or finished estimates, on test mixtures.

    SDR, its improvement over the mixture, SI-SDR, SIR and SAR, for the mixture, for ideal masks and
    for the model, and how much leaks when the query names an absent sound.
    """
    if (mixtures is None) == (public_list is None):
        raise UsageError("Name the test mixtures by --mixtures CSV or by --list KIND:FILE.")
    if examples and output is None:
        raise UsageError("--examples belongs to a report: say with -o where to write it.")
    from clipsep.evaluation.evaluate import evaluate as run_evaluation
    from clipsep.evaluation.report.files import write_report
    from clipsep.media import check_writable

    if output is not None:
        check_writable(output)
        require("matplotlib", "jinja2", extra="eval", purpose="a report")
    with progress_bar(f"evaluating {model or estimates}") as progress:
        report = run_evaluation(
            model,
            public_list or str(mixtures),
            query,
            estimates=estimates,
            root=root,
            images=images,
            prompts=prompts,
            binary=binary,
            noise_heads=noise_heads,
            exclude_others=exclude_others,
            clap=clap,
            sensitivity=sensitivity,
            query_encoder=query_encoder,
            device=device,
            workers=workers,
            every=every,
            examples=examples,
            progress=progress,
        )
    files = write_report(report, output) if output is not None else []
    if as_json:
        print(json.dumps(report.summary(), indent=2, allow_nan=False))
    else:
        _print_report(report)
        if files:
            print(f"Report: {', '.join(str(path) for path in files)}")


def mixtures(
    public_list: Annotated[
        str, typer.Argument(metavar="LIST", help="KIND:FILE, or a CSV as of evaluate --mixtures.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to.")],
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio", "--root", metavar="FOLDER", help="The list's sounds, if not beside it."
        ),
    ] = None,
) -> None:
    """Write a list's mixtures as files for other separators.

    The references lie beside them. Score their estimates of FOLDER/mixture with evaluate --estimates.
    """
    from clipsep.evaluation.lists.export import write_mixtures
    from clipsep.media import check_writable

    check_writable(output)
    with progress_bar(f"writing {public_list}") as progress:
        path = write_mixtures(public_list, output, audio, progress)
    print(f"{path}: clipsep evaluate --estimates FOLDER --list files:{path}")


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a report.")],
    second: Annotated[
        Path, typer.Argument(metavar="B", help="Folder of another, of the same list.")
    ],
    estimate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which estimate, e.g. 'text query'; by default the first."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two reports of one list, item by item.

    B minus A in every metric, with 95 % bootstrap intervals of the mean.
    """
    from clipsep.evaluation.report.compare import compare as compare_reports
    from clipsep.evaluation.report.text import TITLES, decibel_text

    comparison = compare_reports(first, second, estimate)
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=2))
        return
    print(f"A: {comparison.names[0]} ({first})")
    print(f"B: {comparison.names[1]} ({second})")
    columns = ("B - A in dB", "95 % interval", "median", "B better", "items")
    table = table_of("", *columns, right=tuple(range(1, 1 + len(columns))))
    for one in comparison.differences:
        interval = f"{decibel_text(one.low)} to {decibel_text(one.high)}"
        better = f"{100 * one.better:.0f} %" if one.n else "–"
        mean, median = decibel_text(one.mean), decibel_text(one.median)
        table.add_row(*cells(TITLES[one.metric], mean, interval, median, better, str(one.n)))
    stdout().print(table)
    if comparison.missing:
        print(
            f"clipsep: note: {comparison.missing} items are in one of the reports only.",
            file=sys.stderr,
        )


def _print_report(report: Report) -> None:
    from clipsep.evaluation.report.text import (
        absent_sound_text,
        clap_text,
        decibel_text,
        detection_text,
        noise_text,
        notes,
        worse_than_mixture_text,
    )

    sentences = (worse_than_mixture_text, absent_sound_text, detection_text, noise_text, clap_text)
    columns = ("SDR in dB", "median", "SDRi", "SI-SDR", "SI-SDRi", "SIR", "SAR")
    table = table_of("mean of", *columns, right=tuple(range(1, 1 + len(columns))))
    for name in report.estimates:
        sdr = report.statistic(name, "sdr")
        error = f" ± {decibel_text(sdr.standard_error)}" if sdr.standard_error is not None else ""
        others = [
            decibel_text(report.statistic(name, metric).mean)
            for metric in ("sdr_improvement", "si_sdr", "si_sdr_improvement", "sir", "sar")
        ]
        mean, median = decibel_text(sdr.mean) + error, decibel_text(sdr.median)
        table.add_row(*cells(name, mean, median, *others))
    stdout().print(table)
    for answer in report.model_estimates:
        for text_of in sentences:
            if text := text_of(report, answer):
                print(text)
    for note in notes(report):
        print(f"clipsep: note: {note}", file=sys.stderr)
