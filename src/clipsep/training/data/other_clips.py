"""The query of a source by another recording of the same sound: an audio embedding of another clip."""

from __future__ import annotations

import numpy as np

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.index import Clip
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import counted


class OtherClipQueries:
    """Draws audio embeddings of clips with the same label as a given one, but never its own.

    Args:
        embeddings: those of the data set's audio.

    Raises:
        ClipsepError: if a clip has no label, or its label no other clip.
        UsageError: for a data set at an address, where any clip may be far away.
    """

    def __init__(self, dataset: PreparedDataset, embeddings: StoredEmbeddings):
        if dataset.root.remote:
            raise UsageError(
                f"mixing.audio_query 'other_clip' reads any clip, and '{dataset.root}' would be fetched "
                "over and over: copy the data set to a folder, or use 'own_clip'."
            )
        self._dataset, self._embeddings = dataset, embeddings
        self._positions: dict[str | None, list[int]] = {}
        for position, clip in enumerate(dataset.clips):
            self._positions.setdefault(clip.label, []).append(position)
        alone = {label: places for label, places in self._positions.items() if len(places) < 2}
        unfit = {None: self._positions.get(None, []), **alone}
        number = sum(map(len, unfit.values()))
        if number:
            raise ClipsepError(
                f"'{dataset.root}' has {counted(number, 'clip')} without another one of the same label, "
                "whose audio would be the query: add recordings and labels, or use mixing.audio_query "
                "'own_clip'."
            )

    def draw(self, clip: Clip, rng: np.random.Generator) -> np.ndarray:
        """Return the embedding [D] of any second of any other clip with the clip's label."""
        places = self._positions[clip.label]
        other = self._dataset.clips[places[rng.integers(len(places) - 1)]]
        if other.id == clip.id:  # the last one stands in for it in the draw
            other = self._dataset.clips[places[-1]]
        table = self._embeddings.clip(other)
        return table[rng.integers(len(table))]
