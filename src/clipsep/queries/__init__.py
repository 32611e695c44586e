"""Query encoders: what turns a text or a picture into the embedding that steers separation.

This module must import no encoder before one is asked for, and nothing heavier than torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from clipsep.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_CLIP = "openai/clip-vit-base-patch32"


class QueryEncoder(Protocol):
    """What the rest of the package knows of an encoder.

    ``id`` names the embedding space: a checkpoint works only with the encoder it was trained with.
    ``dim`` is D. Both methods return float32 embeddings [B,D] on the encoder's device.
    """

    id: str
    dim: int

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Texts -> [B,D]; raises UsageError for a text that the encoder cannot take."""
        ...

    def encode_images(self, images: list[Image]) -> Tensor:
        """Pictures -> [B,D]."""
        ...


def load_query_encoder(name: str, device: str = "cpu") -> QueryEncoder:
    """The encoder called ``name`` on a torch device.

    "embedded" works offline; "clip" is OpenAI's ViT-B/32; "clip:MODEL" is any CLIP, a folder or a
    hub id; "efficientnet" takes pictures only. An encoder's id names it, too.

    Raises UsageError for an unknown name, ClipsepError if weights are missing or damaged.
    """
    if name in ("embedded", "embedded-v1"):
        from clipsep.queries.embedded import EmbeddedEncoder

        return EmbeddedEncoder(device)
    if name in ("efficientnet", "efficientnet-lite0"):
        from clipsep.queries.picture_features import PictureFeatureEncoder

        return PictureFeatureEncoder(device)
    family, _, model = name.partition(":")
    if family == "clip" and (model or name == "clip"):
        from clipsep.queries.clip import CLIPEncoder

        return CLIPEncoder(model or DEFAULT_CLIP, device)
    raise UsageError(
        f'Unknown query encoder "{name}"; known are "embedded", "efficientnet", "clip" and '
        '"clip:MODEL", where MODEL is a folder or a Hugging Face model id.'
    )
