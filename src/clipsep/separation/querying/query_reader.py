"""Queries as one model reads them: its encoder, its prompts and the sounds that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clipsep._version import __version__
from clipsep.checkpoint import CheckpointConfig
from clipsep.errors import UsageError
from clipsep.feedback import IMAGE, TEXT
from clipsep.queries import QueryEncoder, load_query_encoder, reads_audio
from clipsep.queries.cache import QueryCache
from clipsep.queries.known import Familiarity, KnownSounds
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.parsing import AUDIO_RATE, Content
from clipsep.queries.prompts import encode_prompted
from clipsep.separation.querying.asked import AskedQueries, EncodedQueries

_AUDIO = "audio"


class QueryReader:
    """Turns queries into the embeddings that a model takes.

    Args:
        config: the model's.
        encoder: the query encoder it was trained with; loaded when needed if not given.
        known: the sounds that the model was trained with; None if that is not known.
        threads: how many one operation of an encoder loaded here uses; by default one per core.

    Raises:
        UsageError: if the encoder is another than the model's, or the model takes no queries.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        encoder: QueryEncoder | None = None,
        known: KnownSounds | None = None,
        threads: int | None = None,
    ):
        if config.model.kind == "pit":
            raise UsageError(f"The model '{config.name}' takes no queries (it is a PIT baseline).")
        if encoder is not None and encoder.id != config.query_encoder:
            raise UsageError(
                f"The model '{config.name}' was trained with the query encoder "
                f"'{config.query_encoder}' and works with no other, not '{encoder.id}'."
            )
        self._config, self._encoder, self._known, self._threads = config, encoder, known, threads
        self._cache = _cache_of(config) if encoder is None else None

    def read(self, asked: AskedQueries | EncodedQueries) -> EncodedQueries:
        """Encode the queries; those that are encoded already stay as they are.

        Raises:
            ClipsepError, UsageError: if the encoder cannot be loaded, or cannot read a query.
        """
        if isinstance(asked, EncodedQueries):
            return asked
        embeddings = self._embeddings(asked.contents)
        familiarity: list[Familiarity | None] = [None] * len(embeddings)
        for kind in (TEXT, IMAGE):
            rows = [n for n, query in enumerate(asked.contents) if _kind_of(query) == kind]
            if self._known and rows:
                learnt = self._known.compare_each(embeddings[rows], kind)
                embeddings[rows] = self._known.draw(embeddings[rows], kind)
                for row, one in zip(rows, learnt, strict=True):
                    familiarity[row] = one
        return EncodedQueries(asked.names, embeddings, familiarity, asked.plan, asked.queries)

    def _embeddings(self, queries: Sequence[Content]) -> np.ndarray:
        """[N, D], from the cache for those that the model's own encoder has read before."""
        found = [self._cached(query) for query in queries]
        for kind in (TEXT, IMAGE, _AUDIO):
            # All at once: one after the other, the texts of `scan` would take several times as long.
            rows = [
                n for n, one in enumerate(found) if one is None and _kind_of(queries[n]) == kind
            ]
            if not rows:
                continue
            new = [queries[row] for row in rows]
            encoded = np.asarray(self._encode(new, kind), np.float32)
            for row, embedding in zip(rows, encoded, strict=True):
                found[row] = embedding
            if self._cache:
                self._cache.put(new, list(encoded))
        return np.stack([one for one in found if one is not None])

    def _cached(self, query: Content) -> np.ndarray | None:
        cached = self._cache.get(query) if self._cache else None
        fits = cached is not None and len(cached) == self._config.model.query_dim
        return cached if fits else None

    def _encode(self, queries: list[Any], kind: str) -> np.ndarray:
        """Encode queries of one kind to embeddings [N, D]."""
        encoder = self._loaded_encoder()
        if kind == TEXT:
            return encode_prompted(encoder, queries, self._config.prompts)
        if kind == _AUDIO:
            return reads_audio(encoder).encode_audios(queries, AUDIO_RATE)
        return encoder.encode_images(queries)

    def _loaded_encoder(self) -> QueryEncoder:
        if self._encoder is None:
            if self._config.model.kind == "labelsep":
                self._encoder = LabelEncoder(self._config.labels)
            else:
                name = self._config.query_encoder
                self._encoder = load_query_encoder(name, threads=self._threads)
        return self._encoder


def _kind_of(query: Content) -> str:
    if isinstance(query, str):
        return TEXT
    return _AUDIO if isinstance(query, np.ndarray) else IMAGE


def _cache_of(config: CheckpointConfig) -> QueryCache | None:
    """Of the model's own encoder; None for a table of labels, which is quick to read."""
    if config.model.kind == "labelsep":
        return None
    space = (config.query_encoder, config.query_encoder_revision, config.prompts, __version__)
    return QueryCache(repr(space))
