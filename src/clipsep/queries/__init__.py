"""Query encoders: what turns a text or a picture into the embedding that steers separation.

This module must import no encoder before one is asked for, and nothing heavier than torch.
"""

from __future__ import annotations

from clipsep.errors import UsageError
from clipsep.queries.protocol import QueryEncoder

__all__ = ["QueryEncoder", "load_query_encoder"]


def load_query_encoder(name: str, device: str = "cpu") -> QueryEncoder:
    """The encoder called ``name`` on a torch device.

    "embedded" works offline; "clip" is OpenAI's ViT-B/32; "clip:MODEL" is any CLIP, a folder or a
    hub id; "efficientnet" takes pictures only. An encoder's id names it, too.

    Raises UsageError for an unknown name, ClipsepError if weights are missing or damaged.
    """
    if name in ("embedded", "embedded-v1"):
        from clipsep.queries.embedded.encoder import EmbeddedEncoder

        return EmbeddedEncoder(device)
    if name in ("efficientnet", "efficientnet-lite0"):
        from clipsep.queries.efficientnet import PictureFeatureEncoder

        return PictureFeatureEncoder(device)
    family, _, model = name.partition(":")
    if family == "clip" and (model or name == "clip"):
        from clipsep.queries.clip import DEFAULT_CLIP, CLIPEncoder

        return CLIPEncoder(model or DEFAULT_CLIP, device)
    raise UsageError(
        f'Unknown query encoder "{name}"; known are "embedded", "efficientnet", "clip" and '
        '"clip:MODEL", where MODEL is a folder or a Hugging Face model id.'
    )
