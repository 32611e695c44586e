"""Lists of captions that are mixed when they are read: CLAPSep's and the DCASE 2024 challenge's."""

from __future__ import annotations

from pathlib import Path

from clipsep.evaluation.lists.table import read_table
from clipsep.evaluation.mixtures import Interferer, Mixture
from clipsep.evaluation.recipes import AtSnr


def read_clapsep(path: Path, audio: Path) -> list[Mixture]:
    """CLAPSep (Ma et al., 2024): ``source_file,positive_caption,noise_file,negative_caption``.

    At 32 kHz and 0 dB, every sound cut or padded to ten seconds. The negative caption describes the
    interferer and becomes its label, which ``exclude_others`` of `evaluate` uses.
    """
    columns = ("source_file", "positive_caption", "noise_file", "negative_caption")
    _, rows = read_table(path, columns)
    return [
        Mixture(
            id=f"{number:04d}",
            target=audio / row["source_file"],
            target_start=0,
            interferers=(Interferer(audio / row["noise_file"], 0, row.get("negative_caption")),),
            snr_db=0.0,
            query=row["positive_caption"],
            label=None,
            recipe=AtSnr(32_000, 0.0, 10.0),
        )
        for number, row in enumerate(rows)
    ]


def read_dcase(path: Path, audio: Path) -> list[Mixture]:
    """DCASE 2024 task 9, validation: source, noise, whole-number SNR in dB and caption, by position.

    At 16 kHz; files without their ending, as ``lass_synthetic_validation.csv`` names them.
    """
    _, rows = read_table(path)
    mixtures = []
    for number, row in enumerate(rows):
        source, noise = (audio / f"{row[place]}.wav" for place in (0, 1))
        snr_db = float(row.whole_number(2))
        mixtures.append(
            Mixture(
                id=f"{number:04d}",
                target=source,
                target_start=0,
                interferers=(Interferer(noise, 0, None),),
                snr_db=snr_db,
                query=row[3],
                label=None,
                recipe=AtSnr(16_000, snr_db),
            )
        )
    return mixtures
