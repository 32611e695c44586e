"""Labels as one-hot rows, the queries of the supervised baseline.

It does not understand language: a label is in the list or it is not.
"""

from __future__ import annotations

import difflib

import numpy as np
from PIL import Image

from clipsep.errors import UsageError
from clipsep.messages import counted


class LabelEncoder:
    """One-hot queries over the labels that a model was trained with, in their order.

    Raises UsageError if a label is listed twice or none is listed.
    """

    id = "labels"

    def __init__(self, labels: list[str]) -> None:
        self._rows = {label: row for row, label in enumerate(labels)}
        self.dim = len(labels)
        if not labels or len(self._rows) < len(labels):
            raise UsageError("A label table needs at least one label, and each only once.")

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Labels -> one-hot rows [B,D] float32, D the number of labels.

        Raises UsageError for a text that is not one of the labels, naming the closest ones.
        """
        rows = [self._row(text) for text in texts]
        return np.eye(self.dim, dtype=np.float32)[rows]

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Raise UsageError: a table of labels cannot see."""
        raise UsageError("This model knows only its labels; it cannot take an image as a query.")

    def _row(self, text: str) -> int:
        if text in self._rows:
            return self._rows[text]
        close = difflib.get_close_matches(text, self._rows, n=3, cutoff=0.4)
        known = "close ones are" if close else "some of them are"
        names = ", ".join(f'"{label}"' for label in close or list(self._rows)[:5])
        raise UsageError(
            f'"{text}" is not one of this model\'s {counted(self.dim, "label")}; {known} {names}.'
        )
