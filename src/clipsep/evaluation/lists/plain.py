"""Lists of one's own: finished mixtures with their references, and sounds to be mixed at a ratio."""

from __future__ import annotations

from pathlib import Path

from clipsep.evaluation.lists.table import read_table
from clipsep.evaluation.mixtures import SAMPLE_RATE, Interferer, Mixture
from clipsep.evaluation.recipes import AtSnr, GivenMixture


def read_files(path: Path, audio: Path) -> list[Mixture]:
    """``mixture,reference,query`` and, if wanted, ``id``, ``label``, ``sample_rate``.

    Files of any length and rate; they are compared at ``sample_rate``, by default 16,000 Hz.
    """
    _, rows = read_table(path, ("mixture", "reference", "query"))
    return [
        Mixture(
            id=row.get("id") or f"{number:04d}",
            target=audio / row["reference"],
            target_start=0,
            interferers=(),
            snr_db=None,
            query=row["query"],
            label=row.get("label") or None,
            recipe=GivenMixture(
                audio / row["mixture"],
                int(row.number("sample_rate")) if row.get("sample_rate") else SAMPLE_RATE,
            ),
        )
        for number, row in enumerate(rows)
    ]


def read_recipes(path: Path, audio: Path) -> list[Mixture]:
    """``target,interferer,snr_db,query`` and, if wanted, the columns below; several interferers by ``;``.

    ``id``, ``label``, ``interferer_label``, ``sample_rate`` (16,000 Hz) and ``seconds`` (or the longest).
    """
    _, rows = read_table(path, ("target", "interferer", "snr_db", "query"))
    mixtures = []
    for number, row in enumerate(rows):
        names = [name.strip() for name in row["interferer"].split(";")]
        labels = [label.strip() for label in row.get("interferer_label").split(";")]
        labels += [""] * (len(names) - len(labels))
        mixtures.append(
            Mixture(
                id=row.get("id") or f"{number:04d}",
                target=audio / row["target"],
                target_start=0,
                interferers=tuple(
                    Interferer(audio / name, 0, label or None)
                    for name, label in zip(names, labels, strict=False)
                ),
                snr_db=row.number("snr_db"),
                query=row["query"],
                label=row.get("label") or None,
                recipe=AtSnr(
                    int(row.number("sample_rate")) if row.get("sample_rate") else SAMPLE_RATE,
                    row.number("snr_db"),
                    row.number("seconds") if row.get("seconds") else None,
                ),
            )
        )
    return mixtures
