"""The six test lists of AudioSep (Liu et al., 2023): AudioCaps, AudioSet, Clotho, ESC-50, MUSIC, VGGSound.

Their sounds are published as finished mixtures with references, scored at 32 kHz. ESC-50, MUSIC and
AudioCaps, whose lists name one interferer, can also be mixed from the recordings, at 0 dB as in the paper.
"""

from __future__ import annotations

import re
from pathlib import Path

from clipsep.errors import UsageError
from clipsep.evaluation.lists.table import Row, read_table
from clipsep.evaluation.mixtures import Interferer, Mixture
from clipsep.evaluation.recipes import AtSnr, GivenMixture
from clipsep.files import is_file

SAMPLE_RATE = 32_000  # Hz
_PER_CLASS = 10  # mixtures of each class of AudioSet
_AUDIOSET_NAME = re.compile(r"(.*),(?:mixture|source)\.wav")


def read_audiosep(path: Path, audio: Path) -> list[Mixture]:
    """Any of the six by its columns; for AudioSet the list is ``class_labels_indices.csv``.

    Files are called as in the published archives: ``segment-0.wav`` and ``mixture-0.wav`` below
    ``audio``, the names in the list (VGGSound), or ``class_id=0/NAME,source.wav`` (AudioSet).
    """
    header, rows = read_table(path)
    if {"mix_wav", "s0_wav", "s0_text"} <= set(header):
        return [_vggsound(row, audio) for row in rows]
    if {"index", "display_name"} <= set(header):
        return [mixture for row in rows for mixture in _audioset(row, audio)]
    if {"idx", "caption"} <= set(header):
        listed = list(rows)
        # A table of classes has as many columns as ESC-50's and MUSIC's; the others are captions.
        classes = header == ["idx", "caption", "src_wav", "noise_wav"]
        labels = {row["src_wav"]: row["caption"] for row in listed} if classes else {}
        return [_segment(row, header, audio, labels) for row in listed]
    raise UsageError(
        f"'{path}' has the columns of none of AudioSep's lists: idx and caption, mix_wav, s0_wav and "
        "s0_text (VGGSound), or index and display_name (AudioSet)."
    )


def _segment(row: Row, header: list[str], audio: Path, labels: dict[str, str]) -> Mixture:
    """Of AudioCaps, Clotho, ESC-50 or MUSIC."""
    number, query = row["idx"], row["caption"]
    label = query if labels else None
    mixture = audio / f"mixture-{number}.wav"
    noises = [place for place, name in enumerate(header) if name.startswith("noise_wav")]
    if is_file(mixture) or len(noises) != 1:
        names = [row.get(place) for place in noises] if labels else []
        others = tuple(Interferer(mixture, 0, labels.get(name)) for name in names)
        target = audio / f"segment-{number}.wav"
        recipe: AtSnr | GivenMixture = GivenMixture(mixture, SAMPLE_RATE)
        return Mixture(number, target, 0, others, None, query, label, recipe=recipe)
    name = row[noises[0]]
    others = (Interferer(audio / name, 0, labels.get(name)),)
    recipe = AtSnr(SAMPLE_RATE, 0.0)
    return Mixture(number, audio / row["src_wav"], 0, others, 0.0, query, label, recipe=recipe)


def _vggsound(row: Row, audio: Path) -> Mixture:
    mixture, query = audio / row["mix_wav"], row["s0_text"]
    others = (Interferer(mixture, 0, row.get("s1_text") or None),)
    target, recipe = audio / row["s0_wav"], GivenMixture(mixture, SAMPLE_RATE)
    return Mixture(row["file_id"], target, 0, others, None, query, query, recipe=recipe)


def _audioset(row: Row, audio: Path) -> list[Mixture]:
    """Choose the first ten of a class, in the order of their names."""
    folder, query = audio / f"class_id={row['index']}", row["display_name"]
    try:
        found = [_AUDIOSET_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        found = []
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"Cannot read the folder '{folder}': {error.strerror}.") from error
    names = sorted({match.group(1) for match in found if match})[:_PER_CLASS]
    return [
        Mixture(
            id=f"{row['index']}/{name}",
            target=folder / f"{name},source.wav",
            target_start=0,
            interferers=(),
            snr_db=None,
            query=query,
            label=query,
            recipe=GivenMixture(folder / f"{name},mixture.wav", SAMPLE_RATE),
        )
        for name in names
    ]
