"""The command line: which commands there are, and how errors become one sentence and an exit code.

Each command parses, calls the Python API and prints; nothing else happens here. Heavy imports stand
inside the commands, so that `--help` and mistakes in the options answer at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from clipsep._version import __version__
from clipsep.cli.training.datasets import embed, prepare
from clipsep.cli.training.evaluate import compare, evaluate, mixtures
from clipsep.cli.training.finetune import finetune
from clipsep.cli.training.paper import paper
from clipsep.cli.training.study import study
from clipsep.cli.training.train import train
from clipsep.cli.using.check import check
from clipsep.cli.using.finding import find, scan
from clipsep.cli.using.live import live
from clipsep.cli.using.models import bench, export, info, models, push
from clipsep.cli.using.separate import separate
from clipsep.cli.using.serve import serve
from clipsep.errors import ClipsepError, UsageError
from clipsep.interrupts import forgotten_interrupts_repeated
from clipsep.messages import printable

app = typer.Typer(
    help="Separate the sound that a text or an image names out of any recording.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130
_TRAINING = ("train", "finetune")
TERMINATED = 143
_RESUMABLE = (
    "paper download",
    "paper import-list",
    "prepare",
    "embed",
    "train",
    "finetune",
    "study",
    "push",
)
# What is not installed with the plain package, and the extra that brings it.
_EXTRA_OF = {
    "huggingface_hub": "hub",
    "jinja2": "eval",
    "matplotlib": "plot",
    "onnx": "export",
    "onnxscript": "export",
    "pyarrow": "train",
    "pytorch_lightning": "train",
    "scipy": "eval",
    "sounddevice": "live",
    "tensorboard": "train",
    "threadpoolctl": "eval",
    "torch": "torch",
    "wandb": "wandb",
    "transformers": "clip",
    "yt_dlp": "download",
    "ray": "cluster",
    "fastapi": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
}
# Typer's own errors (unknown option, missing argument, ...), whichever click it is built on.
_ParseError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment]  # click's

for command in (
    separate,
    find,
    scan,
    live,
    serve,
    prepare,
    embed,
    train,
    finetune,
    study,
    evaluate,
    compare,
    mixtures,
    check,
    models,
    info,
    export,
    push,
    bench,
):
    app.command()(command)
app.add_typer(paper, name="paper")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        argv: the arguments without the program's name; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in _TRAINING:
        # Before NumPy is imported: its threads would never have work here, cost time to start, and a
        # process that has some cannot be forked. Where PyTorch uses the same library, it may need them.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what it cannot show must not end finished work
            stream.reconfigure(errors="backslashreplace")
    try:
        with _termination_heard(argv):
            return _run(argv)
    except SystemExit as error:
        return int(error.code or 0)


@contextmanager
def _termination_heard(argv: list[str]) -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, so that what is half-written is removed."""
    if argv[:1] == ["serve"] or threading.current_thread() is not threading.main_thread():
        yield  # `serve` has its own way
        return
    heard = threading.Event()

    def end(*_: object) -> None:
        heard.set()
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        with forgotten_interrupts_repeated():
            yield
    except Exception:
        # Some libraries catch everything, and fail at what they were doing.
        if not heard.is_set():
            raise
        sys.exit(TERMINATED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(argv: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(argv or ["--help"], prog_name="clipsep", standalone_mode=False)
        sys.stdout.flush()
    except ClipsepError as error:
        return _fail(str(error), error.exit_code)
    except _ParseError as error:
        return _fail(_explain(error), UsageError.exit_code)
    except ModuleNotFoundError as error:
        return _fail(_how_to_install(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:
        return _leave_closed_pipe()
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        return _fail(f"The system refused{where}: {error.strerror or error}.")
    except MemoryError:
        return _fail("There is not enough memory for this.")
    except ImportError as error:
        # Extension modules that hear Ctrl-C while they are imported say only that they failed.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        code = INTERRUPTED
    if code == INTERRUPTED:
        print(_interrupted(argv), file=sys.stderr)
    return code or 0


def _print_version(asked: bool) -> None:
    if asked:
        print(f"clipsep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Separate the sound that a text or an image names out of any recording."""


def _fail(sentence: str, exit_code: int = ClipsepError.exit_code) -> int:
    print("clipsep: error:", printable(re.sub(r"\s*\n\s*", " ", sentence)), file=sys.stderr)
    return exit_code


def _explain(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "clipsep"
    message, option = error.format_message(), getattr(error, "param", None)
    # What is not a number, in the words of the parser, which hide what was expected of whom.
    if option is not None and (kind := re.search(r"valid (integer|number|float)", message)):
        expected = "a whole number" if kind[1] == "integer" else "a number"
        return f"{max(option.opts, key=len)} takes {expected}: see '{command} --help'."
    return f"{error.format_message().rstrip('.')}: see '{command} --help'."


def _how_to_install(error: ModuleNotFoundError) -> str:
    package = (error.name or "").split(".")[0]
    if package in _EXTRA_OF:
        return (
            f"This command needs the package {package}: pip install 'clipsep[{_EXTRA_OF[package]}]'"
        )
    return f"The package {package} is missing: install clipsep again with pip."


def _interrupted(argv: list[str]) -> str:
    command = " ".join(argv[:2] if argv[:1] == ["paper"] else argv[:1])
    if command in _RESUMABLE:
        return "clipsep: interrupted: run the same command again to continue."
    if command in ("separate", "mixtures"):
        return "clipsep: interrupted: only finished files were written."
    if command == "export":  # several files, one after the other
        return "clipsep: interrupted: run the same command again, what it wrote is not complete."
    return "clipsep: interrupted: nothing was written."


def _leave_closed_pipe() -> int:
    """Quietly: the reader of our output has seen enough."""
    # Else the interpreter would complain about it once more when it flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
