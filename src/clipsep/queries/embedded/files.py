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
    IMAGE: "327505bd082cf74bcccd8bf8af63e9e0eaea9000bd801c15885b72a83b36f971",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    CLASSES: "656bf81dc07d10982f82e619946f237940a69435b27d0de3557a3b65a6cde567",
}


def read_asset(name: str) -> bytes:
    """The content of one of the files; the bytes that were checked are the bytes returned.

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
