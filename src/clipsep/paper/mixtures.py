"""The paper's test mixtures: which clips they join, drawn from the published lists.

The result has the format of `clipsep.evaluation.mixtures`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import SAMPLE_RATE, SEGMENT, Interferer, Mixture
from clipsep.paper.lists import ListRow, find_file, read_list
from clipsep.paper.public_sets import label_folder

_ID_LENGTH = 11  # of a YouTube id, with which the name of a downloaded clip begins


@dataclass
class PairsReport:
    """The mixtures of two lists.

    Attributes:
        mixtures: those whose files are all there.
        left_out: the first missing file of each other mixture, by the mixture's id.
        trained_on: targets that lie among downloaded training videos.
    """

    mixtures: list[Mixture] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    trained_on: list[Path] = field(default_factory=list)


def published_mixtures(
    target_list: str | Path,
    interferer_list: str | Path,
    root: str | Path = ".",
    video_folders: Iterable[str | Path] = (),
    n_sources: int = 2,
) -> PairsReport:
    """One mixture per clip of ``target_list``, as the published evaluation makes them.

    The id of a mixture is the number of its target in the list, from 0. Levels stay as they are.

    Args:
        root: where relative paths of the lists begin; their own folders are tried next.
        video_folders: made by 'clipsep paper download'; a clip whose wav or frames are not there is
            looked for by its YouTube id.
        n_sources: sounds in each mixture, the published ``--n_test_sources``.

    Raises:
        UsageError: if a list cannot be read, or a target has no label to query with.
    """
    target_list, interferer_list = Path(target_list), Path(interferer_list)
    targets, interferers = read_list(target_list), read_list(interferer_list)
    if unlabelled := [row for row in targets if row.label is None]:
        raise UsageError(
            f"'{target_list}': '{unlabelled[0].wav}' has no label, but a mixture needs one as its query."
        )
    roots = (Path(root), target_list.parent, interferer_list.parent)
    finder = _ClipFinder(roots, map(Path, video_folders))
    report = PairsReport()
    partners = published_partners(len(targets), len(interferers), n_sources - 1)
    for index, (target, numbers) in enumerate(zip(targets, partners, strict=True)):
        mixture_id, drawn = f"{index:04d}", [interferers[number] for number in numbers]
        try:
            sound, frames = finder.sound(target), finder.frames(target)
            others = tuple(
                Interferer(finder.sound(one), published_start(one.n_frames), one.label)
                for one in drawn
            )
        except FileNotFoundError as error:
            report.left_out[mixture_id] = str(error)
            continue
        if finder.is_training_video(sound):
            report.trained_on.append(sound)
        report.mixtures.append(
            Mixture(
                id=mixture_id,
                target=sound,
                target_start=published_start(target.n_frames),
                interferers=others,
                snr_db=None,
                query=target.label or "",
                label=target.label,
                target_frames=frames,
                target_frame=target.n_frames // 2,
            )
        )
    return report


def published_partners(n_targets: int, n_interferers: int, count: int = 1) -> list[list[int]]:
    """For every target the numbers of its interferers, both counted from 0; one may come twice.

    The published reader draws them by ``random.seed(i)`` and ``random.randint(0, n_interferers - 1)`` for
    target number i, and draws nothing else in an evaluation.
    """
    generators = [random.Random(i) for i in range(n_targets)]
    return [[one.randint(0, n_interferers - 1) for _ in range(count)] for one in generators]


def published_start(n_frames: int) -> int:
    """First sample, at 16 kHz, of the segment of a clip with that number of frames; may be negative.

    Its middle is that of frame number ``n_frames // 2``, counted from 1, which stands for the second
    that ends with its number.
    """
    middle = (2 * (n_frames // 2) - 1) * SAMPLE_RATE // 2
    return middle - SEGMENT // 2


class _ClipFinder:
    """Finds the sound and the frames of listed clips: their own files, else downloaded videos."""

    def __init__(self, roots: tuple[Path, ...], video_folders: Iterable[Path]):
        self._roots = roots
        self._videos: dict[str, list[Path]] = {}
        for folder in video_folders:
            if not folder.is_dir():
                raise UsageError(f"--videos: '{folder}' is not a folder.")
            for path in sorted(folder.glob("*/*/*.mp4")):
                self._videos.setdefault(path.stem[:_ID_LENGTH], []).append(path)

    def sound(self, row: ListRow) -> Path:
        """Find the wav, or the video; FileNotFoundError if there is neither."""
        return self._find(row.wav, row)

    def frames(self, row: ListRow) -> Path:
        """Find the folder of frames, or the video; FileNotFoundError if there is neither."""
        return self._find(row.frame_dir, row)

    def is_training_video(self, path: Path) -> bool:
        """Whether this is a downloaded video on the training split."""
        split = path.parent.parent.name
        return split == "train" and path in self._videos.get(path.stem[:_ID_LENGTH], ())

    def _find(self, name: str, row: ListRow) -> Path:
        if found := find_file(name, self._roots):
            return found
        # Of several clips of one video the one of this label is meant.
        videos = self._videos.get(row.video, ())
        folder = label_folder(row.label or "")
        if found := min(videos, key=lambda path: path.parent.name != folder, default=None):
            return found
        raise FileNotFoundError(name)
