"""What the rest of the package knows of a query encoder; it must import no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


class QueryEncoder(Protocol):
    """What the rest of the package knows of an encoder.

    ``id`` names the embedding space: a checkpoint works only with the encoder it was trained with.
    ``dim`` is D. Both methods return float32 embeddings [B,D].
    """

    id: str
    dim: int

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> [B,D]; raises UsageError for a text that the encoder cannot take."""
        ...

    def encode_images(self, images: list[Image]) -> np.ndarray:
        """Images -> [B,D]."""
        ...
