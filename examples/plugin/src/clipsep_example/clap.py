"""A CLAP as the query encoder: texts about sounds, in a space that was learnt from sounds."""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoTokenizer, ClapTextModelWithProjection

from clipsep import ClipsepError, UsageError


class ClapEncoder:
    """The text side of any CLAP of transformers (Wu et al., 2023).

    Args:
        model: what follows the colon in ``clap:FOLDER``: a folder with the model's files, which must name
            the same model whenever a checkpoint trained with it is used. Nothing is downloaded.
        device: where to compute: auto, cpu, cuda or mps.
    """

    def __init__(self, model: str, device: str):
        if not model:
            raise UsageError("'clap' needs the model's folder: write clap:FOLDER.")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
            self._text = ClapTextModelWithProjection.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ClipsepError(f"Cannot read the CLAP model '{model}': {error}") from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._text = self._text.to(device).eval()
        self.dim = self._text.config.projection_dim
        self.id = f"clap:{model}"

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts to unit vectors, float32 [B, dim]."""
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            vectors = self._text(**tokens.to(self._text.device)).text_embeds
        return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()

    def encode_images(self, images: list) -> np.ndarray:
        """Refused: a CLAP has not learnt from images."""
        raise UsageError("The query encoder 'clap' cannot read images: use a text.")
