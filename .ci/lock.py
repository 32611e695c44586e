"""Print constraints.txt: for this version of Python what is installed, for others what uv resolves.

Run by `make lock` after the tests passed. uv chooses the newest versions that go together, on Linux.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

TORCH = "torch==2.13.0"
OTHERS = ("3.10", "3.12", "3.13")
_HEAD = f"""\
# By `make lock`: on Python {{python}} what all tests passed with, on others what uv resolved. On Linux the
# public index gives a build of PyTorch with CUDA, of several gigabytes. The small one (CPU only) comes with
#   pip install {TORCH} --index-url https://download.pytorch.org/whl/cpu
# before the package.
{TORCH}"""
_LEFT_OUT = {"clipsep", "clipsep-example", "pip", "torch", "atheris", "uv"}
_OF_CUDA = ("nvidia-", "cuda-", "triton")


def main() -> None:
    """Print the file."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(_HEAD.format(python=python))
    for version in sorted({python, *OTHERS}, key=lambda name: int(name.partition(".")[2])):
        found = installed() if version == python else dict(resolved(version))
        for name in sorted(found.keys() - _LEFT_OUT):
            if not name.startswith(_OF_CUDA):
                print(f'{name}=={found[name]}; python_version == "{version}"')


def installed() -> dict[str, str]:
    """Versions of the packages of this environment."""
    return {
        re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version.partition("+")[0]
        for one in metadata.distributions()
    }


def resolved(python: str) -> Iterator[tuple[str, str]]:
    """Yield names and versions of what `.[dev]` would install on another version of Python."""
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "pyproject.toml", "--quiet"]
    command += ["--extra=dev", "--python-platform=linux", f"--python-version={python}"]
    command += ["--constraints=-", "--no-header", "--no-annotate"]
    lines = subprocess.run(command, input=TORCH, check=True, capture_output=True, text=True).stdout
    for line in lines.splitlines():
        name, _, version = line.partition("==")
        yield name, version.partition(" ")[0]


if __name__ == "__main__":
    main()
