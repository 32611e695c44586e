"""A query encoder without weights: each word has a fixed random direction, and a text is their mean.

It shows the whole interface in one file. It knows that "a dog" and "the dog" are alike, and nothing else.
"""

from __future__ import annotations

import hashlib

import numpy as np

from clipsep import UsageError


class WordEncoder:
    """Texts to unit vectors.

    Args:
        model: what follows the colon in ``words:128``: the size of the embedding; 64 if empty.
        device: where the caller would like the work done; this one needs no GPU.
    """

    def __init__(self, model: str, device: str):
        if model and not model.isdecimal():
            raise UsageError(f"'words:{model}' is not an encoder: write words:64, with any size.")
        self.dim = int(model or 64)
        self.id = f"words:{self.dim}"  # names the embedding space, in every checkpoint

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts to float32 [B, dim]."""
        rows = [
            np.mean([self._word(word) for word in text.lower().split()], axis=0) for text in texts
        ]
        return np.stack(rows).astype(np.float32)

    def encode_images(self, images: list) -> np.ndarray:
        """Refused: this encoder knows words only."""
        raise UsageError("The query encoder 'words' cannot read images: use a text.")

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(self.dim)
        return vector / np.linalg.norm(vector)
