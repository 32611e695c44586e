"""`Separator`: a model, its query encoder and the streaming filter behind one small interface.

Waveforms, blocks and files take the same path; the command line only parses and prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipsep._version import __version__
from clipsep.checkpoint import CheckpointConfig, find_checkpoint, load_config
from clipsep.engines import Engine, load_engine
from clipsep.errors import ClipsepError, UsageError
from clipsep.feedback import IMAGE, TEXT
from clipsep.files import require_text
from clipsep.media import AudioReader, Tags, check_writable, read_tags
from clipsep.messages import counted
from clipsep.plugins import trust
from clipsep.queries import QueryEncoder, load_query_encoder, reads_audio
from clipsep.queries.cache import QueryCache
from clipsep.queries.known import Familiarity, KnownSounds
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.parsing import AUDIO_RATE, Content, Query
from clipsep.queries.prompts import encode_prompted
from clipsep.separation.asked import AskedQueries, EncodedQueries, as_asked
from clipsep.separation.files.outputs import FileReport, SeparationFiles, written
from clipsep.separation.masking.query_masks import QueryMasks
from clipsep.separation.masking.streaming import StreamingFilter
from clipsep.separation.options import SeparationOptions
from clipsep.separation.pieces import SampleQueue, pieces_of, result_of
from clipsep.separation.result import SeparationResult
from clipsep.separation.waveforms import as_sample_rate, as_waveform

Progress = Callable[[float, float | None], None]  # (seconds done, seconds in all if known)
SHORTEST_SECONDS = 0.02


class Separator:
    """Separates what texts or images name out of recordings.

    Args:
        config: of the model, which must take queries; or its name, folder or hub id, in which case all
            that is not given is loaded as `from_pretrained` does.
        engine: that runs it, see `clipsep.engines.load_engine`.
        encoder: the query encoder it was trained with; loaded when needed if not given.
        overlap: share of the model's segments that is cross-faded, 0 to 0.5.
        known: the sounds that the model was trained with; None if that is not known.

    Raises:
        UsageError: if the encoder is another than the model's, or the model takes no queries.
    """

    def __init__(
        self,
        config: CheckpointConfig | str | Path = "mini",
        engine: Engine | None = None,
        encoder: QueryEncoder | None = None,
        overlap: float = 0.125,
        known: KnownSounds | None = None,
    ):
        if not isinstance(config, CheckpointConfig):
            folder = find_checkpoint(config)
            config = load_config(folder)
            engine = engine or load_engine(folder, config)
            known = known or KnownSounds.load(folder, config)
        if engine is None:
            raise UsageError("A model's config needs an engine beside it: see load_engine.")
        if config.model.kind == "pit":
            raise UsageError(f"The model '{config.name}' takes no queries (it is a PIT baseline).")
        if encoder is not None and encoder.id != config.query_encoder:
            raise UsageError(
                f"The model '{config.name}' was trained with the query encoder "
                f"'{config.query_encoder}' and works with no other, not '{encoder.id}'."
            )
        self.config = config
        self.engine = engine
        self.overlap = overlap
        self.known = known
        self._encoder = encoder
        self._threads: int | None = None
        self._cache = _cache_of(config) if encoder is None else None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "mini",
        device: str = "auto",
        query_encoder: str | None = None,
        overlap: float = 0.125,
        engine: str = "auto",
        threads: int | None = None,
    ) -> Separator:
        """Load a model by name ("mini"), folder or hub id.

        Args:
            device: ``auto`` takes a GPU if there is one; cpu, cuda or mps.
            query_encoder: where to load the encoder from, e.g. ``clip:/path/to/folder``; by default
                what the checkpoint names.
            engine: ``onnx`` needs no PyTorch; ``pytorch``; ``auto`` takes what suits the device.
            threads: of one operation; by default one per core.

        Raises:
            ClipsepError, UsageError: see `clipsep.engines.load_engine`.
        """
        folder = find_checkpoint(name)
        config = load_config(folder)
        trust(query_encoder or "")
        encoder = load_query_encoder(query_encoder, threads=threads) if query_encoder else None
        runs = load_engine(folder, config, engine, device, threads)
        separator = cls(config, runs, encoder, overlap, KnownSounds.load(folder, config))
        separator._threads = threads
        return separator

    def separate(
        self,
        waveform: np.ndarray,
        sample_rate: int,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        **settings: Any,
    ) -> SeparationResult:
        """Separate a recording in memory.

        Args:
            waveform: [T] or [C, T], at any rate: floating-point, or integers of up to 32 bits, which
                are scaled to [-1, 1]; a NumPy array or a PyTorch tensor. soundfile's arrays are [T, C]:
                pass ``waveform.T``.
            sample_rate: in Hz.
            queries: texts, PIL images or paths of images, or what `encode` made of them; a ``Path`` of
                audio asks for what sounds like it, if the model's encoder reads audio.
            options, settings: see `SeparationOptions`: ``binary``, ``sensitivity``, ``together``,
                ``exclude``, and in place of queries ``remove`` or ``gain``; what concerns files has no
                effect here.

        Raises:
            UsageError: for a bad query or option, or an array of another shape.
            ClipsepError: if the sound is empty, too short, or has samples that are NaN, infinite or
                beyond 1e12, or if the model gives no numbers.
        """
        sample_rate = as_sample_rate(sample_rate)
        waveforms = [as_waveform(waveform)]
        blocks = list(self.stream(waveforms, sample_rate, queries, options, **settings))
        return SeparationResult(
            {
                name: np.concatenate([block.targets[name] for block in blocks], axis=-1)
                for name in blocks[0].targets
            },
            np.concatenate([block.residual for block in blocks], axis=-1),
            sample_rate,
            blocks[-1].feedback,
        )

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        latency: float | None = None,
        **settings: Any,
    ) -> Iterator[SeparationResult]:
        """Separate sound that arrives in blocks, in constant memory.

        Args:
            blocks: float [T] or [C, T] of any lengths; all of the same shape but for T.
            queries, options, settings: as `separate`.
            latency: for live audio, the longest time from a sample to its separated sample in seconds,
                0.25 or more; by default one segment of the model (4.1 s), which separates best.

        Yields:
            results that, one after the other, are as long as the blocks; the first one comes after
            the latency, and the size of blocks does not change the samples.

        Raises:
            ClipsepError, UsageError: as `separate`.
        """
        sample_rate = as_sample_rate(sample_rate)
        options = (options or SeparationOptions()).changed(**settings)
        encoded = self.encode(queries, options)
        return self._stream(blocks, sample_rate, encoded, options, latency=latency)

    def separate_file(
        self,
        path: str | Path,
        queries: Sequence[Query] | EncodedQueries = (),
        output_dir: str | Path = "separated",
        options: SeparationOptions | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> FileReport | None:
        """Separate a sound or video file of any length into one file per query.

        The files are called ``<input>.<query>.<format>`` if ``filename`` does not say otherwise, keep the
        recording's tags and chapters, and appear only when they are complete.

        Args:
            queries: as `separate`, and a `clipsep.Frame` for a moment of the video itself.
            options, settings: see `SeparationOptions`.

        Returns:
            what was written; None if ``skip_existing`` is set and all files are there.

        Raises:
            UsageError, ClipsepError: if the input, the queries or the output are of no use.
        """
        path, output_dir = require_text(Path(path)), require_text(Path(output_dir))
        options = (options or SeparationOptions()).changed(**settings)
        asked = as_asked(queries, options, path)
        if options.skip_existing and written(path, output_dir, asked.names, options):
            return None
        with AudioReader(path, start=options.start, end=options.end) as reader:
            check_writable(output_dir)
            output = SeparationFiles(
                reader.info, output_dir, asked.names, options, _tags_of(path, options)
            )
            # The encoder comes last: it takes seconds to load, and all else fails at once.
            with output:
                encoded = self.encoded(asked)
                rate = reader.info.sample_rate
                for block in self._stream(reader, rate, encoded, options, str(path)):
                    output.write(block.targets, block.residual)
                    if progress:
                        progress(output.seconds, reader.info.seconds)
        return output.report(block.feedback)

    def encode(
        self,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
    ) -> EncodedQueries:
        """Queries ready to be used with many recordings; loads the encoder if that was not done yet.

        Args:
            options: whose ``together``, ``exclude``, ``remove`` and ``gain`` count here.

        Raises:
            UsageError, ClipsepError: for a bad query, or if the encoder cannot be loaded.
        """
        return self.encoded(as_asked(queries, options or SeparationOptions()))

    def encoded(self, asked: AskedQueries | EncodedQueries) -> EncodedQueries:
        """What was asked, with its queries encoded; errors as `encode`."""
        if isinstance(asked, EncodedQueries):
            return asked
        read = [self._read(content) for content in asked.contents]
        embeddings, familiarity = zip(*read, strict=True)
        return EncodedQueries(
            asked.names, np.stack(embeddings), list(familiarity), asked.plan, asked.queries
        )

    def _read(self, query: Content) -> tuple[np.ndarray, Familiarity | None]:
        """The embedding [D] that the network gets, and what it is like."""
        embedding = self._embedding(query)
        if self.known is None or isinstance(query, np.ndarray):
            return embedding, None
        kind = TEXT if isinstance(query, str) else IMAGE
        return self.known.draw(embedding[None], kind)[0], self.known.compare(embedding, kind)

    def _embedding(self, query: Content) -> np.ndarray:
        """[D], from the cache if the model's own encoder has read the query before."""
        known = self._cache.get(query) if self._cache else None
        if known is not None and len(known) == self.config.model.query_dim:
            return known
        encoder = self._query_encoder()
        if isinstance(query, str):
            rows = encode_prompted(encoder, [query], self.config.prompts)
        elif isinstance(query, np.ndarray):
            rows = reads_audio(encoder).encode_audios([query], AUDIO_RATE)
        else:
            rows = encoder.encode_images([query])
        embedding = np.asarray(rows[0], np.float32)
        if self._cache:
            self._cache.put(query, embedding)
        return embedding

    def _stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        queries: EncodedQueries,
        options: SeparationOptions,
        source: str = "The sound",
        latency: float | None = None,
    ) -> Iterator[SeparationResult]:
        masks = QueryMasks(
            self.engine,
            self.config,
            queries.embeddings,
            queries.familiarity,
            options.binary,
            options.sensitivity,
        )
        filtered: StreamingFilter | None = None
        waiting = SampleQueue()
        received = 0
        for block, ndim in pieces_of(blocks, sample_rate):
            received += block.shape[1]
            filtered = filtered or StreamingFilter(
                lambda log_magnitude: queries.plan(masks(log_magnitude)),
                self.config.spectral,
                sample_rate,
                len(block),
                self.overlap,
                latency,
            )
            waiting.push(block)
            for targets in filtered.pieces(block):
                yield result_of(queries, targets, waiting, sample_rate, ndim, masks)
        if received < SHORTEST_SECONDS * sample_rate:
            raise ClipsepError(
                f"{source} is too short, {counted(received, 'sample')}: separation needs at least "
                f"{SHORTEST_SECONDS * 1000:.0f} ms ({math.ceil(SHORTEST_SECONDS * sample_rate)})."
            )
        assert filtered is not None
        for targets in filtered.pieces(block[:, :0], last=True):
            yield result_of(queries, targets, waiting, sample_rate, ndim, masks)

    def _query_encoder(self) -> QueryEncoder:
        if self._encoder is None:
            if self.config.model.kind == "labelsep":
                self._encoder = LabelEncoder(self.config.labels)
            else:
                self._encoder = load_query_encoder(self.config.query_encoder, threads=self._threads)
        return self._encoder


def _tags_of(path: Path, options: SeparationOptions) -> Tags | None:
    """Tags of a recording; chapters have no place in a part of it, and a pipe is read only once."""
    if not path.is_file():
        return None
    tags = read_tags(path)
    return tags.without_chapters() if options.start or options.end is not None else tags


def _cache_of(config: CheckpointConfig) -> QueryCache | None:
    """Of the model's own encoder; None for a table of labels, which is quick to read."""
    if config.model.kind == "labelsep":
        return None
    space = (config.query_encoder, config.query_encoder_revision, config.prompts, __version__)
    return QueryCache(repr(space))
