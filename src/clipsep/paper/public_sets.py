"""The paper's public data sets as lists of clips: what is in them, and which split each video is in.

It reads index files and published split lists; fetching videos is the work of download/youtube.py.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsep.errors import UsageError
from clipsep.paper.lists import read_list

SPLITS = ("train", "val", "test")
_YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)


@dataclass(frozen=True)
class PublicSet:
    """What the paper does with one of its data sets.

    Attributes:
        train_share: part of the videos that is for training; the rest is halved into val and test.
        clip_seconds: length of a clip; None where whole videos are used.
        longer_than: clips of this many seconds or fewer are left out.
    """

    train_share: float
    clip_seconds: int | None
    longer_than: float


MUSIC = PublicSet(train_share=0.8, clip_seconds=None, longer_than=5)
VGGSOUND = PublicSet(train_share=0.9, clip_seconds=10, longer_than=8)


@dataclass(frozen=True)
class ListedClip:
    """One clip of an index.

    Attributes:
        video: its YouTube id.
        start: second of the video at which it begins; None for the whole video.
        seconds: its length; None for the whole video.
        label: the class, as the published lists write it: ", " has become " ", underscores have stayed.
        split: "train", "val" or "test".
    """

    video: str
    start: int | None
    seconds: int | None
    label: str
    split: str

    @property
    def name(self) -> str:
        """Distinct among all clips: the id, and the start in six digits where there is one."""
        return self.video if self.start is None else f"{self.video}_{self.start:06d}"

    @property
    def path(self) -> str:
        """Where its file belongs below the folder of the data set."""
        return f"{self.split}/{label_folder(self.label)}/{self.name}.mp4"


class SplitRule:
    """Decides which split a video is in; all clips of a video are in one split.

    A video of a published list is where the list has it. The others are drawn by a hash of their id:
    everyone gets the same splits, whatever else is in the index, and nothing moves when an index
    grows. A split with a list of its own takes no others.
    """

    def __init__(
        self, public_set: PublicSet, published: Mapping[str, Iterable[Path]] | None = None
    ):
        """Read from ``published`` the lists `wav, frame_dir, n_frames[, label]` of "val" and of "test"."""
        self._train_share = public_set.train_share
        # "test" first: the published validation list of MUSIC holds its test list.
        self._lists = {
            split: {row.video for path in paths for row in read_list(path)}
            for split in ("test", "val")
            if (paths := list((published or {}).get(split, ())))
        }

    def split(self, video: str) -> str:
        """Choose the split of the video with this id."""
        for split, videos in self._lists.items():
            if video in videos:
                return split
        position = _draw("side", video)
        half = (1 + self._train_share) / 2
        split = "train" if position < self._train_share else "val" if position < half else "test"
        return "train" if split in self._lists else split


def read_music(paths: Iterable[Path], rule: SplitRule) -> list[ListedClip]:
    """Read MUSIC's JSON lists, ``{"videos": {label: [YouTube id, ...]}}``: videos in mixed order.

    Raises:
        UsageError: for a file of another form.
    """
    return _distinct(
        ListedClip(video, None, MUSIC.clip_seconds, label, rule.split(video))
        for path in paths
        for label, video in _music_entries(path)
    )


def read_vggsound(path: Path, rule: SplitRule) -> list[ListedClip]:
    """Read ``vggsound.csv`` (YouTube id, start in seconds, label, split): clips in mixed order.

    The split that the file states is not used: the paper made its own split of all clips.

    Raises:
        UsageError: for a file of another form.
    """
    return _distinct(
        ListedClip(video, start, VGGSOUND.clip_seconds, label.replace(", ", " "), rule.split(video))
        for video, start, label in _vggsound_entries(path)
    )


def label_folder(label: str) -> str:
    """Make a label the name of a folder."""
    return re.sub(r"[^\w-]+", "_", label).strip("_-") or "unnamed"


def _distinct(clips: Iterable[ListedClip]) -> list[ListedClip]:
    """Each clip once (the first label counts), so ordered that any part has all labels and splits."""
    by_name: dict[str, ListedClip] = {}
    for clip in clips:
        by_name.setdefault(clip.name, clip)
    return sorted(by_name.values(), key=lambda clip: _draw("order", clip.name))


def _draw(purpose: str, name: str) -> float:
    """Return a number in [0, 1) that depends on nothing but the arguments."""
    digest = hashlib.sha256(f"clipsep {purpose} {name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _music_entries(path: Path) -> Iterator[tuple[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' cannot be read as JSON: {error}.") from error
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(ids, list) for ids in videos.values()):
        raise UsageError(
            f"'{path}' is not a list of MUSIC: it must hold 'videos', labels with lists of YouTube ids."
        )
    for label, ids in videos.items():
        for video in ids:
            yield label, _checked_id(video, f"'{path}', label '{label}'")


def _vggsound_entries(path: Path) -> Iterator[tuple[str, int, str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in filter(None, reader):
                where = f"'{path}', line {reader.line_num}"
                if len(cells) != 4 or not cells[1].isdigit():
                    raise UsageError(
                        f"{where}: expected a YouTube id, the start in seconds, a label and a split."
                    )
                yield _checked_id(cells[0], where), int(cells[1]), cells[2]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path}' cannot be read as CSV: {error}.") from error


def _checked_id(video: object, where: str) -> str:
    # An id becomes the name of a file, so nothing else may pass.
    if isinstance(video, str) and _YOUTUBE_ID.fullmatch(video):
        return video
    raise UsageError(f"{where}: {video!r} is not a YouTube id (11 letters, digits, '-' and '_').")
