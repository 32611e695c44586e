"""The paper's test mixtures: which clips they join, drawn from the published lists.

The format of the result is pairs.py's business.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from clipsep.datasets.published_lists import ListRow, find_file, read_list
from clipsep.datasets.video_lists import label_folder
from clipsep.errors import UsageError
from clipsep.evaluation.pairs import SAMPLE_RATE, SEGMENT, Interferer, Pair

_ID_LENGTH = 11  # of a YouTube id, with which the name of a downloaded clip begins


@dataclass
class PairsReport:
    """The pairs, what they name that is not there, and targets among the training videos."""

    pairs: list[Pair] = field(default_factory=list)
    not_found: list[Path] = field(default_factory=list)
    trained_on: list[Path] = field(default_factory=list)


def published_pairs(
    target_list: Path,
    interferer_list: Path,
    folder: Path,
    root: Path = Path("."),
    video_folders: Iterable[Path] = (),
) -> PairsReport:
    """One pair per clip of ``target_list``, as the published evaluation draws them.

    The interferer of target number i (from 0) is what ``random.seed(i); random.randint(0, n - 1)``
    picks among the n clips of the other list; nothing else is drawn. A segment's middle is that of
    picture number ``n_frames // 2``, counted from 1, which stands for the second that ends with its
    number. Levels stay as they are.

    Args:
        folder: where paths begin that lead nowhere.
        root: where relative paths of the lists begin; their own folders are tried next.
        video_folders: made by 'clipsep download'; a clip whose wav is not there is looked for by its
            YouTube id.

    Raises:
        UsageError: if a list cannot be read, or a target has no label to query with.
    """
    targets, interferers = read_list(target_list), read_list(interferer_list)
    if unlabelled := [row for row in targets if row.label is None]:
        raise UsageError(
            f"'{target_list}': '{unlabelled[0].wav}' has no label, but a pair needs one as its query."
        )
    finder = _ClipFinder((root, target_list.parent, interferer_list.parent), video_folders)
    report = PairsReport()
    for index, target in enumerate(targets):
        interferer = interferers[random.Random(index).randint(0, len(interferers) - 1)]
        (sound, pictures), (other, _) = (finder.find(row) for row in (target, interferer))
        report.not_found += [
            folder / path for path in (sound, pictures, other) if not path.exists()
        ]
        if finder.is_training_video(sound):
            report.trained_on.append(sound)
        report.pairs.append(
            Pair(
                id=f"{index:04d}",
                target=sound if sound.exists() else folder / sound,
                target_start=_start(target),
                interferers=(
                    Interferer(
                        other if other.exists() else folder / other,
                        _start(interferer),
                        interferer.label,
                    ),
                ),
                snr_db=None,
                query=target.label,
                label=target.label,
                target_frames=pictures if pictures.exists() else folder / pictures,
                target_frame=target.n_frames // 2,
            )
        )
    return report


def _start(row: ListRow) -> int:
    """First sample of the segment around the middle picture of a clip."""
    middle = (2 * (row.n_frames // 2) - 1) * SAMPLE_RATE // 2
    return middle - SEGMENT // 2


class _ClipFinder:
    """Finds the sound and the pictures of listed clips: their own files, else downloaded videos."""

    def __init__(self, roots: tuple[Path, ...], video_folders: Iterable[Path]):
        self._roots = roots
        self._videos: dict[str, list[Path]] = {}
        for folder in video_folders:
            if not folder.is_dir():
                raise UsageError(f"--videos: '{folder}' is no folder.")
            for path in sorted(folder.glob("*/*/*.mp4")):
                self._videos.setdefault(path.stem[:_ID_LENGTH], []).append(path)

    def find(self, row: ListRow) -> tuple[Path, Path]:
        """Sound and pictures; the names in the list where neither is there."""
        wav, frames = find_file(row.wav, self._roots), find_file(row.frame_dir, self._roots)
        if wav and frames:
            return wav, frames
        videos = self._videos.get(row.video, ())
        # Of several clips of one video the one of this label is meant.
        videos = sorted(videos, key=lambda path: path.parent.name != label_folder(row.label or ""))
        if videos:
            return videos[0], videos[0]
        return wav or Path(row.wav), frames or Path(row.frame_dir)

    def is_training_video(self, path: Path) -> bool:
        """Whether this is a downloaded video on the training side."""
        side = path.parent.parent.name
        return side == "train" and path in self._videos.get(path.stem[:_ID_LENGTH], ())
