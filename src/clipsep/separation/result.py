"""What a separation in memory gives: arrays by name, which can be saved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import UsageError
from clipsep.media import AudioWriter
from clipsep.queries.parsing import RESIDUAL
from clipsep.separation.files.outputs import output_paths
from clipsep.separation.masking.confidence import QueryFeedback
from clipsep.separation.options import SeparationOptions


@dataclass
class SeparationResult:
    """Separated sound, float32, each array shaped as the input ([C, T] or [T]).

    Attributes:
        targets: waveforms by the name of the query: a text itself, an image's file name, or "image 1", ...;
            or one, called "rain and wind" (together), "without rain" (remove) or "mix" (gain).
        residual: the mixture minus all targets, so that everything always adds up to the mixture.
        sample_rate: the input's, in Hz.
        feedback: by the name of the query, whether the model knows such a sound, and how sure it is
            that the sound is there; in a stream, judged by the segments so far.
    """

    targets: dict[str, np.ndarray]
    residual: np.ndarray
    sample_rate: int
    feedback: dict[str, QueryFeedback] = field(default_factory=dict)

    def save(
        self, folder: str | Path, stem: str = "recording", residual: bool = True, **options: Any
    ) -> list[Path]:
        """Write the parts as files; returns their paths.

        Args:
            stem: start of their names.
            residual: write the residual, too.
            options: ``format``, ``bit_depth``, ``bit_rate`` and ``filename`` of `SeparationOptions`.

        Raises:
            UsageError: for an option that is not there, a stem with a slash, or a format that cannot
                hold the parts.
            ClipsepError: if a file cannot be written.
        """
        if re.search(r"[/\\]", stem):
            raise UsageError(f"The stem '{stem}' is a path: name its folder apart from it.")
        chosen = SeparationOptions().changed(residual=residual, **options)
        paths, _ = output_paths(stem, Path(folder), list(self.targets), chosen)
        parts = {**self.targets, RESIDUAL: self.residual}
        for name, path in paths.items():
            samples = np.atleast_2d(parts[name])
            with AudioWriter(
                path,
                self.sample_rate,
                len(samples),
                format=chosen.format,
                expected_seconds=samples.shape[1] / self.sample_rate,
                bit_depth=chosen.bit_depth,
                bit_rate=chosen.bit_rate,
            ) as writer:
                writer.write(samples)
        return list(paths.values())
