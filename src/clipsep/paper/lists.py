"""The lists that the published code trains and scores by: `wav, frame_dir, n_frames, label` per clip."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clipsep.errors import UsageError


@dataclass(frozen=True)
class ListRow:
    """One clip of a published list.

    Attributes:
        wav, frame_dir: paths, as the list writes them.
        n_frames: frames in ``frame_dir``, named 000001.jpg, 000002.jpg, ...; one per second.
        label: None in the lists of three columns.
    """

    wav: str
    frame_dir: str
    n_frames: int
    label: str | None

    @property
    def video(self) -> str:
        """The YouTube id, which the published scripts name files after."""
        return Path(self.wav).stem


def read_list(path: Path) -> list[ListRow]:
    """Read the clips of a published list (no header, three or four columns), in its order.

    Raises:
        UsageError: naming the line that has another form.
    """
    rows = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                if len(cells) < 2:
                    continue  # as the published reader does
                if len(cells) not in (3, 4) or not cells[2].strip().isdigit():
                    raise UsageError(
                        f"'{path}', line {reader.line_num}: expected wav, frame_dir, n_frames and, "
                        "if there is one, a label."
                    )
                label = cells[3].strip().replace(", ", " ") if len(cells) == 4 else ""
                rows.append(ListRow(cells[0], cells[1], int(cells[2]), label or None))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path}' cannot be read as a list of clips: {error}.") from error
    if not rows:
        raise UsageError(f"'{path}' lists no clips.")
    return rows


def find_file(name: str, roots: Iterable[Path]) -> Path | None:
    """Find the file or folder that a list calls ``name``: as given, or below one of ``roots``."""
    # Joining an absolute name drops the root.
    return next((path for root in roots if (path := root / name).exists()), None)
