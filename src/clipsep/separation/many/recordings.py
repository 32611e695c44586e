"""The recordings that were named: files, and those of folders, with where their outputs belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from clipsep.errors import UsageError
from clipsep.files import (
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    find_files,
    fingerprint,
)


@dataclass(frozen=True)
class Recording:
    """A file to separate; its path below the folder that was given comes back in the output folder.

    Attributes:
        suffix: the recording's, kept in the names of its files where they would else be those of another.
    """

    folder: Path
    name: str
    fingerprint: str
    suffix: str = ""

    @property
    def path(self) -> Path:
        return self.folder / self.name


def find_recordings(inputs: Iterable[str | Path], output: str | Path) -> list[Recording]:
    """Find the files among ``inputs``: files, or folders searched at any depth for audio and videos.

    Args:
        output: folder for what becomes of them; where it lies in an input, it is not searched.

    Raises:
        UsageError: for an input that does not exist, or if there is nothing to separate.
    """
    sources, output = [Path(source) for source in inputs], Path(output).resolve()
    recordings: dict[Path, Recording] = {}
    for source in sources:
        if source.resolve() == output:
            raise UsageError(f"'{source}' is the output folder, too: choose another with -o.")
        lies_in_output = output in source.resolve().parents
        for folder, name in find_files(source, SOUND_SUFFIXES | VIDEO_SUFFIXES):
            path = folder / name
            if lies_in_output or output not in path.resolve().parents:
                recordings.setdefault(path, Recording(folder, name, fingerprint(path)))
    if not recordings:
        named = ", ".join(f"'{source}'" for source in sources)
        raise UsageError(f"There is no sound or video file in {named}.")
    return _told_apart([recordings[path] for path in sorted(recordings)])


def _told_apart(recordings: list[Recording]) -> list[Recording]:
    """Of b.wav beside b.mp4, each keeps its suffix."""
    stems = Counter(Path(recording.name).with_suffix("") for recording in recordings)
    return [
        replace(one, suffix=one.path.suffix) if stems[Path(one.name).with_suffix("")] > 1 else one
        for one in recordings
    ]
