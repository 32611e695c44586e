"""Data sets from plain audio files, one folder for each kind of sound, with images beside them or without.

How clips are stored is the writer's work, how they are dealt out that of `prepare`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from clipsep.datasets.prepare.videos import SILENCE, PrepareReport, fill_dataset
from clipsep.datasets.reader import SAMPLE_RATE
from clipsep.datasets.writer import STAGING, stage_clip
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import SOUND_SUFFIXES, VIDEO_SUFFIXES, find_files, fingerprint
from clipsep.media import read_audio
from clipsep.media.images import open_image, to_rgb
from clipsep.media.video import square_image
from clipsep.messages import Progress, unexpected
from clipsep.parallel.task import require_shared_folder
from clipsep.queries.parsing import IMAGE_SUFFIXES

_IMAGE_SIZE = 224  # pixels, as the frames of videos


@dataclass(frozen=True, slots=True)
class SoundFile:
    """An audio file to prepare; the sound of a video counts as one.

    Attributes:
        id: its path below the folder, which is its name in the data set, too.
        fingerprint: changes when the file or its images do.
        label: what the sound is called; None leaves that of a stored clip as it is.
        images: what it may look like; one stands for each second, in turn.
    """

    folder: Path
    id: str
    fingerprint: str
    label: str | None = None
    images: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        return self.folder / self.id


def find_sounds(folders: Iterable[str | Path]) -> list[SoundFile]:
    """Find the audio files below ``folders``, each labeled by the folder that it lies in, by their ids.

    ``FOLDER/dog_barking/a/1.wav`` is "dog barking"; its images are all in ``FOLDER/dog_barking``.

    Raises:
        UsageError: if a folder does not exist or holds no audio, or two files have the same path in it.
    """
    sounds: dict[str, SoundFile] = {}
    for source in map(Path, folders):
        if not source.is_dir():
            raise UsageError(f"'{source}' is not a folder: give one with a folder for each sound.")
        images: dict[str, list[Path]] = {}
        for folder, name in sorted(find_files(source, IMAGE_SUFFIXES)):
            images.setdefault(name.partition("/")[0], []).append(folder / name)
        found = sorted(find_files(source, SOUND_SUFFIXES | VIDEO_SUFFIXES))
        if not found:
            raise UsageError(f"There is no audio file (.wav, .flac, .mp3, ...) in '{source}'.")
        for folder, name in found:
            word, below, _ = name.partition("/")
            if not below:
                raise UsageError(
                    f"'{folder / name}' lies beside the folders: put it into one that is named by its "
                    "sound, as in dog_barking/1.wav."
                )
            if name in sounds:
                raise UsageError(f"'{sounds[name].path}' and '{folder / name}' have the same name.")
            label = " ".join(word.replace("_", " ").split())
            sounds[name] = sound_file(folder, name, label, images.get(word, ()))
    return [sounds[name] for name in sorted(sounds)]


def sound_file(folder: Path, name: str, label: str, images: Sequence[Path] = ()) -> SoundFile:
    """One audio file with what it is called and may look like."""
    path = folder / name
    if not images:
        return SoundFile(folder, name, fingerprint(path), label)
    versions = [fingerprint(path), *(f"{image.name}:{fingerprint(image)}" for image in images)]
    digest = hashlib.sha256("/".join(versions).encode()).hexdigest()[:24]
    return SoundFile(folder, name, digest, label, tuple(images))


def prepare_sounds(
    sounds: list[SoundFile],
    output: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> PrepareReport:
    """Decode every file once into a data set; finished ones are not done again.

    Files without images become clips without frames: they can be trained with texts, not with images.

    Args:
        workers, ray: see `clipsep.parallel.run.run_many`.

    Raises:
        ClipsepError: if the output cannot be written or the workers cannot be used.
    """
    output = Path(output).absolute()
    sounds = [replace(sound, folder=sound.folder.absolute()) for sound in sounds]
    return fill_dataset(output, sounds, _StageSound(output), workers, progress, ray)


@dataclass(frozen=True)
class _StageSound:
    """Decode and stage an audio file; the result is why it cannot be used, or None."""

    output: Path
    device: ClassVar[str] = "cpu"

    def __call__(self, sound: SoundFile) -> str | None:
        require_shared_folder(self.output / STAGING)
        require_shared_folder(sound.path.parent)
        try:
            audio, _ = read_audio(sound.path, SAMPLE_RATE, mono=True)
            frames = _frames(sound, max(1, round(len(audio) / SAMPLE_RATE)))
        except ClipsepError as error:
            return str(error)
        except Exception as error:  # a fault of ours must not cost the other files
            return unexpected(sound.path, error)
        if np.abs(audio).max(initial=0) < SILENCE:
            return f"'{sound.path}' is silent."
        stage_clip(self.output, sound.id, sound.fingerprint, sound.label, audio, frames)
        return None

    def died(self, sound: SoundFile) -> str:
        return (
            f"'{sound.path}' killed every process that decoded it (a damaged file, or too little "
            "memory); to try it again, remove its line from rejected.csv."
        )


def _frames(sound: SoundFile, count: int) -> list[Image.Image | None]:
    """Choose an image for each second; which one comes first depends on the clip's id."""
    if not sound.images:
        return [None] * count
    first = int.from_bytes(hashlib.sha256(sound.id.encode()).digest()[:4], "big")
    used = [sound.images[(first + second) % len(sound.images)] for second in range(count)]
    opened = {path: square_image(to_rgb(open_image(path)), _IMAGE_SIZE) for path in set(used)}
    return [opened[path] for path in used]
