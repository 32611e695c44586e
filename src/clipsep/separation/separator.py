"""`Separator`: a model, its query encoder and the streaming filter behind one small interface.

Waveforms, blocks and files take the same path; the command line only parses and prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from clipsep.checkpoint import CheckpointConfig, find_checkpoint, load_config
from clipsep.engines import Engine, load_engine
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import require_text
from clipsep.media import AudioReader, Tags, check_writable, read_tags
from clipsep.messages import Progress, counted
from clipsep.plugins import trust
from clipsep.queries import QueryEncoder, load_query_encoder
from clipsep.queries.known import KnownSounds
from clipsep.queries.parsing import Query
from clipsep.separation.files.outputs import FileReport, SeparationFiles, written
from clipsep.separation.masking.query_masks import QueryMasks
from clipsep.separation.masking.streaming import StreamingFilter
from clipsep.separation.options import SeparationOptions
from clipsep.separation.pieces import SampleQueue, joined, pieces_of, reported, result_of
from clipsep.separation.querying.asked import AskedQueries, EncodedQueries, as_asked
from clipsep.separation.querying.query_reader import QueryReader
from clipsep.separation.result import SeparationResult
from clipsep.separation.several import SampleRates, separate_each
from clipsep.separation.waveforms import Source, as_sample_rate, is_list_of_recordings

SHORTEST_SECONDS = 0.02


class Separator:
    """Separates what texts or images name out of recordings.

    Args:
        config: the model's, which must take queries; or the model's name, folder or hub id, in which case
            all that is not given is loaded as `from_pretrained` does.
        engine: what runs it, see `clipsep.engines.load_engine`.
        encoder: the query encoder it was trained with; loaded when needed if not given.
        overlap: share of the model's segments that is cross-faded, 0 to 0.5.
        known: the sounds that the model was trained with; None if that is not known.
        threads: how many one operation of an encoder loaded here uses; by default one per core.

    Raises:
        UsageError: if the encoder is another than the model's, the model takes no queries, or the overlap
            is out of bounds.
    """

    def __init__(
        self,
        config: CheckpointConfig | str | Path = "mini",
        engine: Engine | None = None,
        encoder: QueryEncoder | None = None,
        overlap: float = 0.125,
        known: KnownSounds | None = None,
        threads: int | None = None,
    ):
        if not isinstance(config, CheckpointConfig):
            folder = find_checkpoint(config)
            config = load_config(folder)
            engine = engine or load_engine(folder, config)
            known = known or KnownSounds.load(folder, config)
        if not 0 <= overlap <= 0.5:
            raise UsageError(f"The overlap is a share from 0 to 0.5, not {overlap}.")
        if engine is None:
            raise UsageError("A model's config needs an engine beside it: see load_engine.")
        self.config = config
        self.engine = engine
        self.overlap = overlap
        self._queries = QueryReader(config, encoder, known, threads)

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
            threads: how many one operation uses; by default one per core.

        Raises:
            ClipsepError, UsageError: see `clipsep.engines.load_engine`.
        """
        folder = find_checkpoint(name)
        config = load_config(folder)
        trust(query_encoder or "")
        encoder = load_query_encoder(query_encoder, threads=threads) if query_encoder else None
        runs = load_engine(folder, config, engine, device, threads)
        return cls(config, runs, encoder, overlap, KnownSounds.load(folder, config), threads)

    @overload
    def separate(
        self,
        recording: np.ndarray | str | Path,
        sample_rate: int | None = None,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> SeparationResult: ...

    @overload
    def separate(
        self,
        recording: list[Any] | tuple[Any, ...],
        sample_rate: SampleRates = None,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> list[SeparationResult]: ...

    def separate(
        self,
        recording: Any,
        sample_rate: SampleRates = None,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> SeparationResult | list[SeparationResult]:
        """Separate a recording, or each of a list of recordings, in memory.

        Recordings of a list are separated one after the other, with queries that are encoded once:
        on a CPU thread, a pass of the network with segments of several recordings saves no time.

        Args:
            recording: a waveform [T] or [C, T], a file, or a list of them. Waveforms are NumPy arrays or
                PyTorch tensors of any rate: floating-point, or integers of up to 32 bits, which are scaled
                to [-1, 1]. soundfile's arrays are [T, C]: pass ``waveform.T``.
            sample_rate: rate of waveforms, in Hz; for a list, one for all or one for each. Files have their
                own.
            queries: texts, PIL images or paths of images, or what `encode` made of them; a ``Path`` of
                audio is a query for what sounds like it, if the model's encoder reads audio.
            options, settings: see `SeparationOptions`: ``binary``, ``sensitivity``, ``together``,
                ``exclude``, and in place of queries ``remove`` or ``gain``; ``start`` and ``end`` of files.
            progress: is called with the seconds that are done, and those of all recordings together (None
                if a file does not state its length).

        Returns:
            the parts; for a list, those of each recording, in its order.

        Raises:
            UsageError: for a bad query or option, or an array of another shape.
            ClipsepError: if a recording cannot be read, is empty or too short, or has samples that are
                NaN, infinite or beyond 1e12, or if the model gives no numbers. In a list, the message
                says which recording it was.
        """
        options = (options or SeparationOptions()).changed(**settings)
        if is_list_of_recordings(recording):
            encoded = self.encode(queries, options)

            def separate_one(one: Any, rate: int | None, part: Progress | None) -> SeparationResult:
                return self.separate(one, rate, encoded, options, part)

            return separate_each(separate_one, recording, sample_rate, options, progress)
        with Source(recording, sample_rate, options.start, options.end) as source:
            encoded = self._queries.read(as_asked(queries, options, source.path))
            results = self._stream(source, source.sample_rate, encoded, options, source.title)
            return joined(reported(results, progress, source.seconds))

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        queries: Sequence[Query] | EncodedQueries = (),
        options: SeparationOptions | None = None,
        latency: float | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Iterator[SeparationResult]:
        """Separate audio that arrives in blocks, in constant memory.

        Args:
            blocks: float [T] or [C, T] of any lengths; all of the same shape but for T.
            queries, options, settings: see `separate`.
            latency: the longest time, for live audio, from a sample to its separated sample in seconds,
                0.25 or more; by default one segment of the model (4.1 s), which separates best.
            progress: is called before each result with the seconds that are done, and None: nobody knows
                how many will come.

        Yields:
            results that, one after the other, are as long as the blocks; the first one comes after
            the latency, and the size of blocks does not change the samples.

        Raises:
            ClipsepError, UsageError: as `separate`.
        """
        sample_rate = as_sample_rate(sample_rate)
        options = (options or SeparationOptions()).changed(**settings)
        encoded = self.encode(queries, options)
        results = self._stream(blocks, sample_rate, encoded, options, latency=latency)
        return reported(results, progress)

    def separate_file(
        self,
        path: str | Path,
        queries: Sequence[Query] | EncodedQueries = (),
        output_dir: str | Path = "separated",
        options: SeparationOptions | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> FileReport | None:
        """Separate an audio or video file of any length into one file per query.

        The files are called ``<input>.<query>.<format>`` if ``filename`` does not say otherwise, keep the
        recording's tags and chapters, and appear only when they are complete.

        Args:
            queries: see `separate`; also a `clipsep.Frame` for a moment of the video itself.
            options, settings: see `SeparationOptions`.

        Returns:
            what was written; None if ``skip_existing`` is set and all files are there.

        Raises:
            UsageError, ClipsepError: if the input, the queries or the output cannot be used.
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
        """Encode queries for use with many recordings; loads the encoder if that was not done yet.

        Args:
            options: only ``together``, ``exclude``, ``remove`` and ``gain`` count here.

        Raises:
            UsageError, ClipsepError: for a bad query, or if the encoder cannot be loaded.
        """
        return self.encoded(as_asked(queries, options or SeparationOptions()))

    def encoded(self, asked: AskedQueries | EncodedQueries) -> EncodedQueries:
        """Encode what was asked; errors as `encode`."""
        return self._queries.read(asked)

    def _stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        queries: EncodedQueries,
        options: SeparationOptions,
        source: str = "The recording",
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


def _tags_of(path: Path, options: SeparationOptions) -> Tags | None:
    """Read the tags of a recording, or of the part that is asked for; a pipe is read only once."""
    if not path.is_file():
        return None
    return read_tags(path).of_part(options.start or 0.0, options.end)
