"""`rejected.csv` of a data set: the videos that cannot be used, and why, for people and the next run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clipsep.errors import ClipsepError
from clipsep.files import atomic_write

_COLUMNS = ("id", "fingerprint", "reason")


class Rejection(NamedTuple):
    """Which version of a video was rejected, and why."""

    fingerprint: str
    reason: str


class RejectedList(Mapping[str, Rejection]):
    """By the ids of videos; without entries there is no file.

    Raises:
        ClipsepError: if the file is damaged.
    """

    def __init__(self, root: Path):
        self._path = root / "rejected.csv"
        self._rejections = self._read()
        if self._path.is_file():
            self.tidy()

    def __getitem__(self, clip_id: str) -> Rejection:
        return self._rejections[clip_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rejections)

    def __len__(self) -> int:
        return len(self._rejections)

    def add(self, clip_id: str, rejection: Rejection) -> None:
        """List a video, at once and at the end."""
        self._rejections[clip_id] = rejection
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(_COLUMNS)
            writer.writerow([clip_id, *rejection])

    def remove(self, clip_ids: Iterable[str]) -> None:
        """Take videos off the list, at once, if they are on it."""
        listed = self._rejections.keys() & set(clip_ids)
        for clip_id in listed:
            del self._rejections[clip_id]
        if listed and self:
            self.tidy()
        elif listed:
            self._path.unlink()

    def tidy(self) -> None:
        """Write the whole file again: in order, and without what a killed run left half-written."""
        with (
            atomic_write(self._path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows([clip_id, *self[clip_id]] for clip_id in sorted(self))

    def _read(self) -> dict[str, Rejection]:
        if not self._path.is_file():
            return {}
        try:
            with open(self._path, newline="", encoding="utf-8-sig") as file:
                # A killed run may leave half a line, also of the first one.
                rows = [row for row in csv.reader(file) if len(row) == len(_COLUMNS)]
            if rows and tuple(rows.pop(0)) != _COLUMNS:
                raise csv.Error(f"its first line is not '{','.join(_COLUMNS)}'")
        except (UnicodeDecodeError, csv.Error) as error:
            raise ClipsepError(
                f"'{self._path}' is damaged ({error}): delete it, and what it rejects is tried again."
            ) from error
        return {row[0]: Rejection(*row[1:]) for row in rows}
