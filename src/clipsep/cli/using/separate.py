"""`clipsep separate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsep.cli.console import (
    AsJson,
    Device,
    Ray,
    Sensitivity,
    Workers,
    cells,
    progress_bar,
    stdout,
    table_of,
)
from clipsep.cli.feedback import feedback_cells, note_on, sentence_on
from clipsep.cli.recordings import (
    STDIN_NAME,
    STDIO,
    EncoderName,
    End,
    Engine,
    Frames,
    Images,
    Like,
    Model,
    Query,
    Start,
    frames_of,
    recording_of,
    seconds_of,
    send_to_stdout,
)
from clipsep.errors import UsageError
from clipsep.messages import counted, printable

if TYPE_CHECKING:
    from clipsep.separation.files.outputs import FileReport
    from clipsep.separation.many.request import SeparationRequest


def separate(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUTS", help="Sound or video files, folders of them; - for stdin."
        ),
    ],
    query: Query = None,
    image: Images = None,
    like: Like = None,
    frame: Frames = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Sound to take out: one file without it; may be repeated."
        ),
    ] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT=DB", help="Sound to turn up or down: one file, the mix; may be repeated."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TEXT", help="Sound that no target may contain."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One file with all that the queries name.")
    ] = False,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Folder for the separated files; - for stdout."
        ),
    ] = Path("separated"),
    residual: Annotated[bool, typer.Option("--residual", help="Write what is left too.")] = False,
    model: Model = "mini",
    query_encoder: EncoderName = None,
    binary: Annotated[bool, typer.Option("--binary", help="Masks of 0 and 1, not soft.")] = False,
    sensitivity: Sensitivity = 0.5,
    start: Start = None,
    end: End = None,
    device: Device = "auto",
    engine: Engine = "auto",
    format: Annotated[
        str, typer.Option(metavar="NAME", help="wav, flac, mp3, ogg, opus or m4a.")
    ] = "wav",
    bit_depth: Annotated[
        int | None,
        typer.Option(
            metavar="BITS", help="16, 24 or 32 (floating point) for wav; 16, 24 for flac."
        ),
    ] = None,
    bit_rate: Annotated[
        int | None, typer.Option(metavar="KBIT", help="Of mp3, opus and m4a, in kbit/s.")
    ] = None,
    filename: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="Of the files: {stem}, {query}, {ext}.")
    ] = "{stem}.{query}.{ext}",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave inputs alone whose files are there.")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Videos with the same frames and the new audio.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw spectrograms of all parts.")] = False,
    as_json: AsJson = False,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Separate, remove or turn up sounds that you name.

    With folders or several files, bad ones are listed; run the command again to go on after an
    interrupt.
    """
    from clipsep.separation.options import SeparationOptions

    queries: list[Any] = [*(query or []), *(image or []), *(like or []), *frames_of(frame)]
    if not queries and not remove and not gain:
        raise UsageError(
            'Say what to separate: -q "dog barking", --image with an image, or what to --remove.'
        )
    options = SeparationOptions(
        binary=binary,
        sensitivity=sensitivity,
        together=together,
        exclude=exclude or (),
        remove=remove or (),
        gain=_gains(gain or []),
        start=seconds_of(start),
        end=seconds_of(end),
        residual=residual,
        format=format,
        bit_depth=bit_depth,
        bit_rate=bit_rate,
        plot=plot,
        filename=filename,
        skip_existing=skip_existing,
        video=video,
    )
    options.wanted(queries)
    from clipsep.separation.many.request import SeparationRequest

    request = SeparationRequest(queries, model, query_encoder, options, device, engine)
    if len(inputs) > 1 or inputs[0].is_dir() or ray is not None:
        if STDIO in inputs or output == STDIO:
            raise UsageError("- stands for one recording: name one input, and no folder.")
        _separate_many(inputs, request, output, workers, ray, as_json)
    elif output == STDIO:
        _separate_to_stdout(inputs[0], request, as_json)
    else:
        with recording_of(inputs[0]) as path:
            name = STDIN_NAME if inputs[0] == STDIO else str(inputs[0])
            _separate_one(path, name, request, output, as_json)


def _separate_one(
    path: Path, name: str, request: SeparationRequest, output: Path, as_json: bool
) -> None:
    report = _report_of(path, request, output)
    if report is None:
        if as_json:
            skipped = {"input": name, "status": "skipped", "reason": "its files were there"}
            print(json.dumps(skipped, indent=2))
        else:
            print(f"All files of {printable(name)} are in {output}: nothing was done.")
        return
    if as_json:
        print(json.dumps({**report.as_dict(), "input": name}, indent=2, allow_nan=False))
    else:
        _print_report(report, name)
    _note_changes(report, request.options.format)


def _separate_to_stdout(source: Path, request: SeparationRequest, as_json: bool) -> None:
    from clipsep.separation.querying.asked import AskedQueries

    options = request.options
    if as_json:
        raise UsageError("The standard output takes the sound or the JSON: name a folder with -o.")
    with recording_of(source) as path, TemporaryDirectory() as folder:
        names = AskedQueries(request.queries, options, path).names
        if len(names) != 1 or options.residual or options.plot:
            raise UsageError(
                "The standard output takes one sound: ask for one, or name a folder with -o."
            )
        report = _report_of(path, request, Path(folder))
        assert report is not None  # a new folder has nothing to skip
        _note_changes(report, options.format)
        send_to_stdout(report.tracks[0].path)


def _report_of(path: Path, request: SeparationRequest, output: Path) -> FileReport | None:
    from clipsep.separation.separator import Separator

    separator = Separator.from_pretrained(
        request.model, request.device, request.query_encoder, engine=request.engine
    )
    with progress_bar(f"separating {path.name}") as progress:
        return separator.separate_file(path, request.queries, output, request.options, progress)


def _gains(texts: list[str]) -> dict[str, float]:
    """From "speech=+6" and so on; UsageError for anything else."""
    gains = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            gain = float(number.lower().removesuffix("db"))
        except ValueError as error:
            raise UsageError(f"The gain '{text}' is not TEXT=DB, as in speech=+6.") from error
        if not name.strip() or name in gains:
            raise UsageError(f"The gain '{text}' names no sound, or one that has a gain already.")
        gains[name] = gain
    return gains


def _separate_many(
    inputs: list[Path],
    request: SeparationRequest,
    output: Path,
    workers: int | None,
    ray: str | None,
    as_json: bool,
) -> None:
    from clipsep.separation.many.bulk import separate_files
    from clipsep.separation.many.recordings import find_recordings

    recordings = find_recordings(inputs, output)
    with progress_bar("separating files") as progress:
        report = separate_files(recordings, request, output, workers, progress, ray)
    good = report.separated + report.already_there
    if as_json:
        entries = [report.notes.entry(one.path) for one in recordings]
        print(json.dumps(entries, indent=2, allow_nan=False))
    else:
        for path, reason in report.failed.items():
            named = reason if str(path) in reason else f"{path}: {reason}"
            print(f"failed: {printable(named)}")
        print(
            f"files: {good} separated in {output} ({report.separated} of them now), "
            f"{len(report.failed)} failed; their levels and shares are in {report.notes.path}."
        )
    if report.clipped:
        _note_clipping(report.clipped, f"the files in {output}")
    if report.resampled:
        _note_resampling(request.options.format, f"of {counted(report.resampled, 'recording')}")
    if not good:
        raise typer.Exit(1)


def _print_report(report: FileReport, source: str) -> None:
    from clipsep.separation.masking.confidence import QueryFeedback

    says = any(report.feedback_on(name) != QueryFeedback() for name in report.targets)
    about = ("known", "confidence") if says else ()
    columns = ("query", *about, "level", "share of energy", "file")
    table = table_of(*columns, right=tuple(range(1 + bool(says), len(columns) - 1)))
    tracks = dict(report.targets)
    if report.residual:
        tracks["(residual)"] = report.residual
    for name, track in tracks.items():
        share = f"{100 * track.energy_share:.1f} %"
        said = feedback_cells(report.feedback.get(name))[: len(about)]
        table.add_row(*cells(name, *said, _level(track.level), share, track.path))
    nothing = [""] * len(about)
    table.add_row(*cells("(mixture)", *nothing, _level(report.level), "100.0 %", source))
    stdout().print(table)
    for query, feedback in report.feedback.items():
        if query not in report.targets and (line := sentence_on(query, feedback)):
            print(printable(line))
    if report.figure:
        print(f"Spectrograms: {report.figure}")
    for query, feedback in report.feedback.items():
        if note := note_on(query, feedback):
            print(f"clipsep: note: {printable(note)}", file=sys.stderr)


def _note_changes(report: FileReport, format: str) -> None:
    """Say what the file format could not hold."""
    for track in report.tracks:
        if track.clipped:
            _note_clipping(track.clipped, str(track.path))
    if any(track.sample_rate != report.sample_rate for track in report.tracks):
        _note_resampling(format, f"of {report.sample_rate} Hz")


def _note_resampling(format: str, of_what: str) -> None:
    from clipsep.media import OUTPUT_FORMATS

    rate = OUTPUT_FORMATS[format].other_rate
    print(
        f"clipsep: note: {format} does not have the sample rate {of_what}: the sound was resampled to "
        f"{rate} Hz; --format wav keeps it.",
        file=sys.stderr,
    )


def _note_clipping(samples: int, of_what: str) -> None:
    print(
        f"clipsep: note: {counted(samples, 'sample')} of {of_what} had to be limited, louder than the "
        "format can hold; --format wav keeps them.",
        file=sys.stderr,
    )


def _level(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} dBFS"
