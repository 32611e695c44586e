"""A CLAP that judges estimates: embeddings of audio and of texts in one space."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError, UsageError, require
from clipsep.media.resampling import resample


class ClapJudge:
    """Any CLAP of transformers (Wu et al., 2023); nothing is downloaded.

    Args:
        folder: where the model's files are.

    Raises:
        UsageError: if there is no such folder.
        ClipsepError: if the files are missing or damaged, or transformers is not installed.
    """

    def __init__(self, folder: Path):
        require("torch", "transformers", extra="scores", purpose="scoring with a CLAP")
        import transformers

        if not folder.is_dir():
            raise UsageError(f"There is no folder '{folder}' with the files of a CLAP.")
        logging.getLogger("transformers").setLevel(logging.ERROR)
        try:
            arguments: dict[str, Any] = {"local_files_only": True}
            self._processor = transformers.ClapProcessor.from_pretrained(folder, **arguments)
            self._model = transformers.ClapModel.from_pretrained(folder, **arguments).eval()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ClipsepError(f"Cannot read the CLAP model '{folder}': {reason}") from error
        self._rate = self._processor.feature_extractor.sampling_rate
        self._texts: dict[str, np.ndarray] = {}

    def text(self, text: str) -> np.ndarray:
        """Embedding of a text, float32 [D]."""
        import torch

        if text not in self._texts:
            inputs = self._processor.tokenizer([text], return_tensors="pt", truncation=True)
            with torch.inference_mode():
                self._texts[text] = _array(self._model.get_text_features(**inputs))
        return self._texts[text]

    def audio(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Embedding of audio [T] at a rate in Hz, float32 [D].

        That of audio longer than the model's window (10 s) is the mean over windows one after the other,
        the last of which ends with the audio. transformers would cut one out at random.
        """
        samples = resample(np.asarray(waveform, np.float32), sample_rate, self._rate)
        length = self._processor.feature_extractor.nb_max_samples
        starts = [*range(0, len(samples) - length, length), max(0, len(samples) - length)]
        return np.mean([self._window(samples[start : start + length]) for start in starts], axis=0)

    def _window(self, samples: np.ndarray) -> np.ndarray:
        """Embedding of samples [T] that fit into one window, float32 [D]."""
        import torch

        inputs = self._processor.feature_extractor(
            samples, sampling_rate=self._rate, return_tensors="pt"
        )
        with torch.inference_mode():
            return _array(self._model.get_audio_features(**inputs))


def _array(features: Any) -> np.ndarray:
    """Features of one item as an array [D]; versions of transformers wrap them or do not."""
    rows: Any = getattr(features, "pooler_output", features)
    return rows[0].float().numpy()
