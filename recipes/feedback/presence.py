"""Fit when a sound is heard: `python -m recipes.feedback.presence CHECKPOINT CORPUS`.

On mixtures with known spans of CORPUS/pairs_val_wide.csv and pairs_val.csv. The queries of each name its
target, its background and an absent sound. Run it after `recipes.feedback.finish`; `clipsep find` and
`clipsep scan` use what it writes into the checkpoint, and `benchmarks.finding` measures them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.finding import RATE, make_mixture
from clipsep import SeparationOptions, Separator
from clipsep.checkpoint import find_checkpoint, load_config, save_config
from clipsep.evaluation.mixtures import read_mixture_list
from clipsep.feedback import PresenceSettings
from clipsep.finding.presence import STEP_FRAMES, Presence
from clipsep.separation.querying.asked import AskedQueries
from clipsep.spectral import log_magnitude, stft
from recipes.feedback.corpus import Corpus
from recipes.feedback.finish import LISTS
from recipes.feedback.regression import auc, fit_logistic, out_of_fold

_DECIMALS = 5


def fit(separator: Separator, corpus: Corpus, every: int) -> PresenceSettings:
    """Logistic regression over steps of all mixtures, in which the three queries count alike."""
    mixtures = [m for name in LISTS for m in read_mixture_list(corpus.folder / name)[::every]]
    labels = sorted({mixture.label for mixture in mixtures})
    features, outcome, groups = [], [], []
    for number, mixture in enumerate(mixtures):
        background = mixture.interferers[0]
        row = {"target": mixture.target, "interferer": background.path}
        waveform, spans = make_mixture(corpus.folder, row, np.random.default_rng(number))
        absent = corpus.absent_labels(mixture, labels, 1)
        found = _features(separator, waveform, [mixture.label, background.label, *absent])
        time = np.arange(found.shape[1]) * STEP_FRAMES * separator.config.spectral.hop_length / RATE
        inside = np.any([(time >= start) & (time < end) for start, end in spans], axis=0)
        truth = np.stack([inside, np.ones_like(inside), np.zeros_like(inside)])[: len(found)]
        heard = np.isfinite(found[..., 0])
        features.append(found[heard])
        outcome.append(truth[heard])
        groups.append(np.full(heard.sum(), number))
    x, y, group = np.concatenate(features), np.concatenate(outcome), np.concatenate(groups)
    fair = out_of_fold(x, y, group)
    print(f"{len(mixtures)} mixtures, {len(y)} moments, sound there in {100 * y.mean():.0f} %")
    print(f"area under the curve {auc(fair, y):.3f}, each moment judged by a fit to other mixtures")
    offset, weights = fit_logistic(x, y)
    values = [offset, *weights.tolist()]
    names = PresenceSettings.model_fields
    return PresenceSettings(
        **{name: round(value, _DECIMALS) for name, value in zip(names, values, strict=True)}
    )


def _features(separator: Separator, waveform: np.ndarray, queries: list[str]) -> np.ndarray:
    """`Presence.features` [N, steps, 3], of every `STEP_FRAMES`-th STFT frame."""
    settings = separator.config.spectral
    encoded = separator.encoded(AskedQueries(queries, SeparationOptions(), None))
    presence = Presence(
        separator.engine,
        separator.config,
        encoded.embeddings,
        encoded.familiarity,
        SeparationOptions(),
        settings.sample_rate,
    )
    spectrum = stft(waveform, settings.n_fft, settings.hop_length)
    n_frames = settings.segment_frames
    segments = [
        log_magnitude(spectrum[:, first : first + n_frames], settings)
        for first in range(0, spectrum.shape[-1] - n_frames + 1, n_frames)
    ]
    found = [presence.features(segment[None, None]) for segment in segments]
    return np.concatenate(found, axis=1)[:, ::STEP_FRAMES]


def main() -> None:
    """Fit and write into the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("checkpoint", help="folder, or the name of a shipped model")
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th mixture only")
    parser.add_argument("--engine", default="onnx")
    args = parser.parse_args()
    folder = find_checkpoint(args.checkpoint)
    config = load_config(folder)
    separator = Separator.from_pretrained(folder, device="cpu", engine=args.engine)
    presence = fit(separator, Corpus(args.corpus, None), args.every)
    print(presence.model_dump_json())
    confidence = config.confidence.model_copy(update={"presence": presence})
    save_config(folder, config.model_copy(update={"confidence": confidence}))


if __name__ == "__main__":
    main()
