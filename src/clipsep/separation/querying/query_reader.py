"""Queries as one model reads them: its encoder, its prompts and the sounds that it knows."""

from __future__ import annotations

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
        embeddings, familiarity = zip(*map(self._read, asked.contents), strict=True)
        return EncodedQueries(
            asked.names, np.stack(embeddings), list(familiarity), asked.plan, asked.queries
        )

    def _read(self, query: Content) -> tuple[np.ndarray, Familiarity | None]:
        """Return the embedding [D] that the network gets, and what it is like."""
        embedding = self._embedding(query)
        if self._known is None or isinstance(query, np.ndarray):
            return embedding, None
        kind = TEXT if isinstance(query, str) else IMAGE
        return self._known.draw(embedding[None], kind)[0], self._known.compare(embedding, kind)

    def _embedding(self, query: Content) -> np.ndarray:
        """[D], from the cache if the model's own encoder has read the query before."""
        cached = self._cache.get(query) if self._cache else None
        if cached is not None and len(cached) == self._config.model.query_dim:
            return cached
        encoder = self._loaded_encoder()
        if isinstance(query, str):
            rows = encode_prompted(encoder, [query], self._config.prompts)
        elif isinstance(query, np.ndarray):
            rows = reads_audio(encoder).encode_audios([query], AUDIO_RATE)
        else:
            rows = encoder.encode_images([query])
        embedding = np.asarray(rows[0], np.float32)
        if self._cache:
            self._cache.put(query, embedding)
        return embedding

    def _loaded_encoder(self) -> QueryEncoder:
        if self._encoder is None:
            if self._config.model.kind == "labelsep":
                self._encoder = LabelEncoder(self._config.labels)
            else:
                name = self._config.query_encoder
                self._encoder = load_query_encoder(name, threads=self._threads)
        return self._encoder


def _cache_of(config: CheckpointConfig) -> QueryCache | None:
    """Of the model's own encoder; None for a table of labels, which is quick to read."""
    if config.model.kind == "labelsep":
        return None
    space = (config.query_encoder, config.query_encoder_revision, config.prompts, __version__)
    return QueryCache(repr(space))
