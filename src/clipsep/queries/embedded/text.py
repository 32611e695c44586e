"""The MiniLM sentence encoder (all-MiniLM-L6-v2), as an ONNX file inside the package."""

from __future__ import annotations

import numpy as np

from clipsep.engines.session import open_session
from clipsep.queries.embedded.files import TEXT, TOKENIZER, read_asset
from clipsep.queries.embedded.wordpiece import WordPieceTokenizer

DIM = 384
MAX_TOKENS = 256
_BATCH = 64


class SentenceEncoder:
    """BERT with six layers, mean pooling and unit length (Reimers and Gurevych, 2019).

    Gives the vectors of sentence-transformers' all-MiniLM-L6-v2, but for weights stored as int8.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: how many ONNX Runtime uses; None for one per core.

    Raises:
        ClipsepError: if the files are missing or damaged.
    """

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        self._tokenize = WordPieceTokenizer(read_asset(TOKENIZER), MAX_TOKENS)
        self._session = open_session(read_asset(TEXT), f"'{TEXT}'", threads, device)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Texts, cut after 256 tokens, to unit vectors [B, 384] float32."""
        rows = [self._encode(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)]
        return np.concatenate(rows) if rows else np.zeros((0, DIM), np.float32)

    def _encode(self, texts: list[str]) -> np.ndarray:
        ids = [self._tokenize(text) for text in texts]
        tokens = np.zeros((len(ids), max(map(len, ids))), np.int64)
        valid = np.zeros_like(tokens)
        for row, values in enumerate(ids):
            tokens[row, : len(values)] = values
            valid[row, : len(values)] = 1
        return self._session.run(["vectors"], {"tokens": tokens, "valid": valid})[0]
