"""What a model gained and lost: the same test mixtures before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsep.datasets.prepare.sounds import SoundFile
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.mixtures import SEGMENT, Interferer, Mixture, write_mixture_list

_TEXT = "text query"


@dataclass(frozen=True)
class Score:
    """Mean SDR of a list before and after, in dB.

    Attributes:
        difference_error: standard error of the mean difference over the mixtures.
    """

    what: str
    mixtures: int
    before: float
    after: float
    difference_error: float | None


def write_held_out(
    name: str, sounds: list[SoundFile], prepared: PreparedDataset, path: Path
) -> None:
    """Write a list of every held-out recording of a sound with four held-out others, at 0 dB.

    Args:
        name: label of the sound.
        sounds: all that is held out.
        prepared: the same as a data set; what is silent there where a mixture takes it is left out.

    Raises:
        UsageError: if nothing of the sound, or of the others, can be used.
    """
    heard = {clip.id for clip in prepared.clips if prepared.audio(clip)[:SEGMENT].any()}
    usable = [sound for sound in sounds if sound.id in heard]
    own = [sound for sound in usable if sound.label == name]
    others = [sound for sound in usable if sound.label != name]
    if not own or not others:
        raise UsageError(
            f"None of the recordings of {'other sounds' if own else repr(name)} that are kept for the "
            "measurement can be used: add recordings, or replace those that are silent or damaged."
        )
    rng = np.random.default_rng(0)
    mixtures: list[Mixture] = []
    for sound in own:
        for other in rng.choice(len(others), min(4, len(others)), replace=False):
            partner = others[other]
            mixtures.append(
                Mixture(
                    id=f"{len(mixtures):04d}",
                    target=sound.path,
                    target_start=0,
                    interferers=(Interferer(partner.path, 0, partner.label),),
                    snr_db=0.0,
                    query=sound.label or "",
                    label=sound.label,
                )
            )
    write_mixture_list(mixtures, path)


def compare(
    before: Path,
    after: Path,
    mixtures: str | Path,
    what: str,
    audio: Path | None = None,
    every: int = 1,
    device: str = "auto",
) -> Score:
    """Score two models on every n-th mixture of a list by its texts; its paths begin at ``audio``."""
    reports = [
        evaluate(model, mixtures, "text", root=audio, device=device, workers=1, every=every)
        for model in (before, after)
    ]
    sdr = np.array(
        [[one.scores[_TEXT].sdr for one in report.mixtures] for report in reports], np.float64
    )
    sdr = sdr[:, np.isfinite(sdr).all(axis=0)]
    difference = sdr[1] - sdr[0]
    n = len(difference)
    error = float(difference.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return Score(what, n, float(sdr[0].mean()), float(sdr[1].mean()), error)
