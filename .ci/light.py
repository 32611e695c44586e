"""Checks of a fresh environment that has clipsep and nothing else: its size, and that it separates.

Run by `make light` with that environment's Python.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

MOST_PACKAGES = 30
MOST_MEGABYTES = 400
MOST_OWN_MEGABYTES = 60  # of clipsep itself; the package index takes no file of more than 100
EXAMPLE = Path(__file__).parents[1] / "examples" / "speech-and-violin.flac"


def main() -> None:
    """Print what was found; exit with a sentence if it is not as promised."""
    packages = sorted(
        {one.metadata["Name"].lower() for one in metadata.distributions()} - {"pip", "setuptools"}
    )
    folder = Path(sysconfig.get_path("purelib"))
    megabytes, own = _megabytes(folder), _megabytes(folder / "clipsep")
    print(
        f"{len(packages)} packages, {megabytes:.0f} MB, {own:.0f} of them clipsep: {', '.join(packages)}"
    )
    if len(packages) > MOST_PACKAGES or megabytes > MOST_MEGABYTES:
        sys.exit(f"The core may have {MOST_PACKAGES} packages and {MOST_MEGABYTES} MB.")
    if own > MOST_OWN_MEGABYTES:
        sys.exit(f"clipsep itself may have {MOST_OWN_MEGABYTES} MB.")
    if importlib.util.find_spec("torch"):
        sys.exit("The core has PyTorch.")
    if "](docs/" in (metadata.metadata("clipsep").get_payload() or ""):
        sys.exit("On a package index, links of the README lead nowhere.")
    with tempfile.TemporaryDirectory() as output:
        command = [Path(sys.executable).with_name("clipsep"), "separate", EXAMPLE]
        subprocess.run([*command, "-q", "violin", "-o", output], check=True)
        if len(list(Path(output).iterdir())) != 1:
            sys.exit("The example was not separated.")


def _megabytes(folder: Path) -> float:
    """Measure what is in a folder, without the pip that every environment has."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    pip = [*(folder / "pip").rglob("*"), *folder.glob("pip-*/**/*")]
    return sum(file.stat().st_size for file in set(files) - set(pip)) / 1e6


if __name__ == "__main__":
    main()
