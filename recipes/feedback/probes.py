"""Many queries on validation mixtures at once, scored on the STFT: quick, and close to the waveform's SDR.

It must not know where queries come from, nor what becomes of the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep.checkpoint import CheckpointConfig, load_config
from clipsep.devices import one_thread
from clipsep.engines import Engine, load_engine
from clipsep.errors import ClipsepError
from clipsep.evaluation.mixtures import SAMPLE_RATE, Mixture, load_sources
from clipsep.media.resampling import resample
from clipsep.parallel.run import run_many
from clipsep.separation.masking.confidence import mask_features, sigmoid
from clipsep.spectral import from_bands, log_magnitude, stft

ABSENT = -1


@dataclass(frozen=True, eq=False)
class Probe:
    """Queries on one mixture.

    Attributes:
        embeddings: [N, D], as the network gets them.
        sources: [N], which source each asks for; `ABSENT` for one that is not there.
    """

    mixture: Mixture
    embeddings: np.ndarray
    sources: Sequence[int]


class Answers(NamedTuple):
    """What N queries on a mixture gave.

    Attributes:
        features: [N, 3], see `mask_features`; of the segment in which each sound is most evident.
        target, overlap, estimate: [N], inner products of each query's source with itself, of the source
            with the estimate, and of the estimate with itself; the first two are NaN where it is absent.
    """

    features: np.ndarray
    target: np.ndarray
    overlap: np.ndarray
    estimate: np.ndarray

    @property
    def sdr(self) -> np.ndarray:
        """In dB, [N]; NaN for absent sounds."""
        error = self.target - 2 * self.overlap + self.estimate
        return 10 * np.log10(self.target / np.maximum(error, 1e-12))


@dataclass
class _Ask:
    """Runs the network on one probe; each process loads it once."""

    folder: Path
    device: str = "cpu"
    _loaded: tuple[CheckpointConfig, Engine] | None = field(default=None, repr=False)

    def __call__(self, probe: Probe) -> Answers:
        if self._loaded is None:
            config = load_config(self.folder)
            self._loaded = config, load_engine(self.folder, config, device=self.device, threads=1)
        config, engine = self._loaded
        settings = config.spectral
        sources = resample(load_sources(probe.mixture), SAMPLE_RATE, settings.sample_rate)
        spectra = stft(sources, settings.n_fft, settings.hop_length)
        n_segments = max(1, spectra.shape[-1] // settings.segment_frames)
        spectra = spectra[..., : n_segments * settings.segment_frames]
        spectrum = spectra.sum(axis=0)
        segments = np.split(spectrum, n_segments, axis=-1)
        images = np.stack([log_magnitude(segment, settings) for segment in segments])
        in_segments = engine.mask_logits(images[:, None], probe.embeddings)  # [S, N, F, T / S]
        logits = np.concatenate(in_segments, axis=-1)
        power = np.square(np.abs(spectrum))
        rows = []
        for logit, source in zip(logits, probe.sources, strict=True):
            mask = from_bands(sigmoid(logit), settings)
            estimate = float((np.square(mask) * power).sum())
            if source == ABSENT:
                rows.append((np.nan, np.nan, estimate))
                continue
            cross = (spectra[source].conj() * spectrum).real
            target = np.square(np.abs(spectra[source])).sum()
            rows.append((float(target), float((mask * cross).sum()), estimate))
        target, overlap, estimate = np.array(rows).T
        features = np.stack([mask_features(*one) for one in zip(images, in_segments, strict=True)])
        most_evident = features[..., 0].argmax(axis=0)
        return Answers(features[most_evident, np.arange(len(logits))], target, overlap, estimate)

    def died(self, probe: Probe) -> Answers:
        raise ClipsepError(f"Mixture {probe.mixture.id} ends the process that separates it.")

    def __reduce__(self) -> tuple:
        return _Ask, (self.folder, self.device)


def ask(folder: Path, probes: Sequence[Probe], workers: int) -> list[Answers]:
    """Ask a model all probes; the answers come in their order."""
    with one_thread():
        found = {id(probe): answers for probe, answers in run_many(_Ask(folder), probes, workers)}
    return [found[id(probe)] for probe in probes]
