"""Coverage-guided fuzzing of one reader: `python -m benchmarks.faults.guided TARGET [--runs N] [--seed S]`.

Needs atheris (`pip install atheris`, Linux and macOS), which is no dependency. TARGET is a name of
`hostile.all_targets`, such as "YAML of a training". A `ClipsepError` is a refusal; any other exception
ends the run, and libFuzzer writes the file that caused it into the current folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clipsep", "yaml"]):
    import clipsep.datasets.prepare.videos
    import clipsep.datasets.rejected
    import clipsep.evaluation.lists
    import clipsep.evaluation.report.compare
    import clipsep.media.images
    import clipsep.separation.many.journal
    import clipsep.training.config  # noqa: F401
    from benchmarks.faults.hostile import all_targets
    from clipsep.errors import ClipsepError


def main() -> None:
    """Fuzz until a fault, or until the runs are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clipsep-guided-") as place:
        folder = Path(place)
        targets = {target.name: target for target in all_targets(folder)}
        if options.target not in targets:
            raise SystemExit(f"There is no target '{options.target}': {', '.join(targets)}.")
        target = targets[options.target]
        corpus, path = folder / "corpus", folder / f"guided{target.suffix}"
        corpus.mkdir()
        for number, content in enumerate(target.contents):
            (corpus / f"{number}").write_bytes(content)

        def attempt(content: bytes) -> None:
            path.write_bytes(content)
            try:
                target.use(path)
            except ClipsepError:
                return

        limits = [f"-runs={options.runs}", f"-seed={options.seed}", "-timeout=20", "-max_len=4096"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
