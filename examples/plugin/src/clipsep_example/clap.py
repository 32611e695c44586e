"""A CLAP as the query encoder: texts and audio in one space, which was learnt from captions of sounds."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
)

from clipsep import ClipsepError, UsageError
from clipsep.media import resample


class ClapEncoder:
    """Any CLAP of transformers (Wu et al., 2023); its audio side is loaded when it is needed.

    Args:
        model: what follows the colon in ``clap:FOLDER``: a folder with the model's files, which must name
            the same model whenever a checkpoint trained with it is used. Nothing is downloaded.
        device: where to compute: auto, cpu, cuda or mps.
    """

    def __init__(self, model: str, device: str):
        if not model:
            raise UsageError("'clap' needs the model's folder: write clap:FOLDER.")
        if not Path(model).is_dir():
            raise UsageError(f"There is no folder '{model}' with the files of a CLAP.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._folder, self._device = model, device
        self._tokenizer = self._load(AutoTokenizer)
        self._text = self._load(ClapTextModelWithProjection).to(device).eval()
        self.dim = self._text.config.projection_dim
        self.id = f"clap:{model}"

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts to unit vectors, float32 [B, dim]."""
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return _unit(self._text(**tokens.to(self._device)).text_embeds)

    def encode_audios(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Mono waveforms [T] to unit vectors, float32 [B, dim]; the first ten seconds of each."""
        extractor, model = self._audio
        rate = extractor.sampling_rate
        sounds = [resample(waveform, sample_rate, rate) for waveform in waveforms]
        # Of longer audio the extractor would take a random part.
        sounds = [sound[: extractor.nb_max_samples] for sound in sounds]
        inputs = extractor(sounds, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            return _unit(model(**inputs.to(self._device)).audio_embeds)

    def encode_images(self, images: list) -> np.ndarray:
        """Refused: a CLAP has not learnt from images."""
        raise UsageError("The query encoder 'clap' cannot read images: use a text or a recording.")

    @cached_property
    def _audio(self) -> tuple[ClapFeatureExtractor, ClapAudioModelWithProjection]:
        model = self._load(ClapAudioModelWithProjection).to(self._device).eval()
        return self._load(ClapFeatureExtractor), model

    def _load(self, part: type):
        try:
            return part.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ClipsepError(f"Cannot read the CLAP model '{self._folder}': {error}") from error


def _unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
