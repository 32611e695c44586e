"""Print constraints.txt: the versions of everything in this environment, for this version of Python.

Run by `make lock` after the tests passed. Other versions of Python get the pinned PyTorch alone.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

TORCH = "torch==2.13.0"
_HEAD = f"""\
# What the tests passed with on Python {{python}}, by `make lock`. Other versions of Python get the pinned
# PyTorch alone. On Linux the public index gives a build with CUDA, of several gigabytes. The small one (CPU
# only) comes with
#   pip install {TORCH} --index-url https://download.pytorch.org/whl/cpu
# before the package.
{TORCH}"""
_LEFT_OUT = {"clipsep", "clipsep-example", "pip", "torch", "atheris"}


def main() -> None:
    """Print the file."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {
        re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version
        for one in metadata.distributions()
    }
    print(_HEAD.format(python=python))
    for name in sorted(found.keys() - _LEFT_OUT):
        version = found[name].partition("+")[0]
        print(f'{name}=={version}; python_version == "{python}"')


if __name__ == "__main__":
    main()
