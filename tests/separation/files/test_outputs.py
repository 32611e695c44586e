"""Laws of the names of separated files."""

from __future__ import annotations

from pathlib import Path

from clipsep.separation.files.outputs import output_paths
from clipsep.separation.options import SeparationOptions


def test_long_names_that_begin_alike_stay_different(tmp_path: Path):
    titles = ["雨" * 40 + end for end in ("一", "二")] + ["rain " * 30 + end for end in "ab"]
    options = SeparationOptions(plot=True)
    found = {
        path
        for title in titles
        for tracks, figure in [output_paths(Path(f"{title}.wav"), tmp_path, ["狗" * 90], options)]
        for path in (*tracks.values(), figure)
    }
    assert len(found) == 2 * len(titles)
    assert max(len(path.name.encode()) for path in found) <= 240  # beside it is an unfinished one
    short = output_paths(Path(f"{'x' * 100}.wav"), tmp_path, ["dog"], SeparationOptions())[0]
    assert short["dog"].name == f"{'x' * 100}.dog.wav"
