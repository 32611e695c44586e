"""Hive (Li et al., 2026): mixtures of two or more sounds as JSON, every sound a target in turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import Interferer, Mixture
from clipsep.evaluation.recipes import Part, Weighted


def read_hive(path: Path, audio: Path) -> list[Mixture]:
    """Read a JSON file with a list of mixtures; paths of sounds are relative to ``audio``.

    Ids are Hive's with the number of the target behind, from 1.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"Cannot read the list '{path}': {error}.") from error
    if not isinstance(content, list):
        raise UsageError(f"'{path}' is not Hive's metadata: expected a list of mixtures.")
    mixtures = []
    for number, mixture in enumerate(content):
        try:
            mixtures += _targets(mixture, audio)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(
                f"'{path}', mixture {number}: {error!r} is missing or wrong."
            ) from error
    return mixtures


def _targets(mixture: dict[str, Any], audio: Path) -> list[Mixture]:
    info, sources = mixture["dataset_info"], mixture["sources"]
    parts = [
        Part(
            (float(one["chunk_start_second"]), float(one["chunk_end_second"])),
            (float(one["crop_start_second"]), float(one["crop_end_second"])),
            float(one["applied_weight"]),
        )
        for one in sources
    ]
    others = [Interferer(audio / one["path"], 0, str(one["label"])) for one in sources]

    def first(values: list, place: int) -> tuple:
        return (values[place], *values[:place], *values[place + 1 :])

    return [
        Mixture(
            id=f"{mixture['mix_id']}-{place + 1}",
            target=other.path,
            target_start=0,
            interferers=first(others, place)[1:],
            snr_db=None,
            query=other.label or "",
            label=other.label,
            recipe=Weighted(
                int(info["sample_rate"]),
                float(info["target_duration"]),
                first(parts, place),
                float(mixture["mixing_params"]["global_normalization_factor"]),
            ),
        )
        for place, other in enumerate(others)
    ]
