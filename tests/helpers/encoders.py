"""Query encoders for tests, which load nothing."""

from __future__ import annotations

import hashlib

import torch


class FakeEncoder:
    """Unit embeddings that depend on a text's bytes or an image's size; nothing is loaded."""

    dim = 16

    def __init__(self, id: str = "embedded-v2"):
        self.id = id

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.stack([self._random(text.encode()) for text in texts])

    def encode_images(self, images: list) -> torch.Tensor:
        return torch.stack([self._random(str(image.size).encode()) for image in images])

    def _random(self, key: bytes) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(key).digest()[:4], "little")
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
