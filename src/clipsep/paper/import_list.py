"""From a published list to a data set: its wav files and extracted frames, without any video.

`clipsep.paper.lists` reads the lists, `clipsep.datasets.writer` knows the layout on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from clipsep.datasets.prepare.videos import PrepareReport, fill_dataset
from clipsep.datasets.reader import SAMPLE_RATE
from clipsep.datasets.writer import STAGING, stage_clip
from clipsep.errors import ClipsepError
from clipsep.files import fingerprint
from clipsep.media import read_audio, square_image
from clipsep.media.images import open_image, to_rgb
from clipsep.messages import Progress, unexpected
from clipsep.paper.lists import ListRow, find_file, read_list
from clipsep.parallel.task import require_shared_folder

FRAME_SIZE = 224


def import_list(
    list_file: str | Path,
    output: str | Path,
    root: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> PrepareReport:
    """Store every clip of a list under the name that its wav has there; finished ones are skipped.

    The frame numbered i, from 1, becomes the i-th of its clip. Sound of any rate becomes mono at 16
    kHz. A clip whose files are missing or damaged is recorded in ``rejected.csv``.

    Args:
        root: where relative paths begin; the list's own folder is tried next.
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        UsageError: if the list cannot be read.
        ClipsepError: if the output cannot be written.
    """
    list_file, root = Path(list_file), Path(root)
    rows = {row.wav: row for row in read_list(list_file)}
    roots = (root.absolute(), list_file.absolute().parent)
    clips = [_ListedFiles.find(row, roots) for row in rows.values()]
    output = Path(output).absolute()
    return fill_dataset(output, clips, _Stage(output), workers, progress, ray)


@dataclass(frozen=True, slots=True)
class _ListedFiles:
    """A row and where its files are; None for what is not there."""

    row: ListRow
    wav: Path | None
    frame_dir: Path | None
    fingerprint: str  # changes when a file does, or when frames are added

    @property
    def id(self) -> str:
        return self.row.wav

    @property
    def label(self) -> str | None:
        return self.row.label

    @classmethod
    def find(cls, row: ListRow, roots: tuple[Path, ...]) -> _ListedFiles:
        wav, frame_dir = find_file(row.wav, roots), find_file(row.frame_dir, roots)
        states = [fingerprint(path) if path else "absent" for path in (wav, frame_dir)]
        return cls(row, wav, frame_dir, f"{states[0]}/{states[1]}/{row.n_frames}")


@dataclass(frozen=True)
class _Stage:
    """Reads and stages a clip; the result is why it was rejected, or None."""

    output: Path
    device: ClassVar[str] = "cpu"

    def __call__(self, clip: _ListedFiles) -> str | None:
        require_shared_folder(self.output / STAGING)
        row = clip.row
        if clip.wav is None or clip.frame_dir is None:
            missing = row.wav if clip.wav is None else row.frame_dir
            return f"'{missing}' does not exist: check --root."
        if not row.n_frames:
            return f"'{row.frame_dir}' has no frames according to the list."
        try:
            audio, _ = read_audio(clip.wav, SAMPLE_RATE, mono=True)
            frames = [_read_frame(clip.frame_dir, i) for i in range(1, row.n_frames + 1)]
        except ClipsepError as error:
            return str(error)
        except Exception as error:  # a fault of ours must not cost the other clips
            return unexpected(clip.wav, error)
        if not len(audio):
            return f"'{clip.wav}' is too short: at {SAMPLE_RATE} Hz it has no sample."
        stage_clip(self.output, clip.id, clip.fingerprint, row.label, audio, frames)
        return None

    def died(self, clip: _ListedFiles) -> str:
        return f"'{clip.wav}' killed every process that read it."


def _read_frame(folder: Path, number: int) -> Image.Image:
    image = open_image(folder / f"{number:06d}.jpg")
    return square_image(to_rgb(image), FRAME_SIZE)
