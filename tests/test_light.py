"""Laws of the core: it separates, scores and explains itself without PyTorch and the other extras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What only extras bring; blocked, as if it were not installed.
BLOCKED = """
import sys

class Blocked:
    names = {"torch", "transformers", "tokenizers", "huggingface_hub", "scipy", "matplotlib", "jinja2",
             "pytorch_lightning", "pyarrow", "onnx", "ray", "threadpoolctl", "yt_dlp"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_light(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, cwd=folder
    )


def command(*arguments: str) -> str:
    return f"from clipsep.cli import main\nsys.exit(main({list(arguments)!r}))"


def test_the_example_is_separated_without_torch(tmp_path):
    example = str(ROOT / "examples" / "speech-and-violin.flac")
    result = run_light(command("separate", example, "-q", "violin", "--residual"), tmp_path)
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / "separated").iterdir())
    assert names == ["speech-and-violin.residual.wav", "speech-and-violin.violin.wav"]


@pytest.mark.parametrize(
    "code",
    [
        "import clipsep\nclipsep.Separator, clipsep.load_query_encoder, clipsep.shipped_models",
        command("--help"),
        command("models"),
        command("info", "mini"),
        *(command(name, "--help") for name in ("separate", "train", "evaluate", "prepare")),
    ],
)
def test_what_only_informs_needs_no_extra(code, tmp_path):
    result = run_light(code, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("separate", "x.wav", "-q", "dog", "--engine", "pytorch"), "torch"),
        (("separate", "x.wav", "-q", "dog", "--model", "owner/model"), "hub"),
        (("export", "mini", "-o", "out"), "export"),
        (("separate", "x.wav", "-q", "dog", "--query-encoder", "clip"), "clip"),
    ],
)
def test_an_extra_that_is_missing_is_named(arguments, extra, tmp_path):
    result = run_light(command(*arguments), tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("clipsep: error: ") and result.stderr.count("\n") == 1
    assert f"clipsep[{extra}]" in result.stderr
