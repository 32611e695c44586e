"""What the rest of the package knows of a query encoder; it must import no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

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


@runtime_checkable
class AudioQueryEncoder(QueryEncoder, Protocol):
    """A query encoder that reads audio, too, into the space of its texts or images."""

    def encode_audios(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Mono waveforms, float32 [T] of any lengths at a rate in Hz -> [B,D]."""
        ...
