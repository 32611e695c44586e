"""The embedded encoder's files inside the package; each is checked before anything reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from clipsep.errors import ClipsepError

FOLDER = Path(__file__).parents[2] / "assets" / "embedded"
TEXT, IMAGE = "text.onnx", "image.onnx"
TOKENIZER, CLASSES = "tokenizer.json", "classes.safetensors"
# Other contents are another space, which needs another id (`clipsep.queries.embedded.encoder.ID`).
SHA256 = {
    TEXT: "0c19d8c4dc7fd5c9214a2a252db1907d36601bf73dc481d2d31abb784e574b5e",
    IMAGE: "e8246c5f1cfe0a6ad0bb86322687809cc5162fb603d34a97ea53e446ca4234ca",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    CLASSES: "bf00ee04006f78105e0c059c42d9525d1140bde7c1dcd08a269b58955abc1a28",
}


def read_asset(name: str) -> bytes:
    """Read one of the files; the bytes that were checked are the bytes returned.

    Raises:
        ClipsepError: if the file is missing or damaged.
    """
    path = FOLDER / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ClipsepError(
            f"Cannot read '{path}' ({error.strerror}): install clipsep again."
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ClipsepError(f"'{path}' is damaged: install clipsep again.")
    return content
