"""Reading sound of any kind: probe a file, stream it in blocks or load it whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from clipsep.errors import UsageError
from clipsep.media.containers import demux, open_media
from clipsep.media.resampling import resample
from clipsep.media.sound_track import AudioStreamInfo, SoundTrack


def probe(path: str | Path) -> AudioStreamInfo:
    """Open ``path``, decode its first piece of sound and describe it.

    Raises ClipsepError: missing, a folder, empty, not media, without sound.
    """
    with AudioReader(path) as reader:
        return reader.info


def read_audio(
    path: str | Path, sample_rate: int | None = None, mono: bool = False
) -> tuple[np.ndarray, int]:
    """Read a whole file: float32 [C, T], or [T] with ``mono`` (mean over channels), and its rate.

    ``sample_rate`` (Hz) resamples; None keeps the file's own. Raises ClipsepError for bad files.
    """
    with AudioReader(path) as reader:
        blocks = [block.mean(axis=0) if mono else block for block in reader]
        native_rate = reader.info.sample_rate
    audio = np.concatenate(blocks, axis=-1)
    if sample_rate is None:
        return audio, native_rate
    return resample(audio, native_rate, sample_rate), sample_rate


class AudioReader:
    """Streams a file's sound as float32 blocks [C, n] at its own rate, in constant memory.

    A context manager and an iterator (once). Pipes work: nothing seeks. Raises ClipsepError, when
    opened or while iterated, naming the file and the reason.
    """

    def __init__(
        self,
        path: str | Path,
        block_seconds: float = 1.0,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """``block_seconds`` bounds a block's length (a single longer decoded frame stays whole).

        ``start`` and ``end`` (seconds) choose a part of the sound; `info` is then of that part.
        Raises UsageError if the sound is known to end before the part starts.
        """
        self._container = open_media(path)
        try:
            self._sound = SoundTrack(Path(path), self._container)
            pieces = self._decode()
            # The first decoded frame knows the true rate and layout; headers may not (HE-AAC).
            self._pieces = chain([next(pieces)], pieces)
        except BaseException:
            self._container.close()
            raise
        self.info = _info_of_part(self._sound.info, start, end)
        rate = self.info.sample_rate
        self._first = round((start or 0.0) * rate)
        self._last = None if end is None else round(end * rate)
        self._block_samples = max(1, round(block_seconds * self.info.sample_rate))

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._blocks(self._part(self._pieces))

    def _part(self, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what lies between the first and the last sample; what follows is not even decoded."""
        read = 0
        for piece in pieces:
            inside = piece[:, max(0, self._first - read) :]
            read += piece.shape[1]
            if self._last is not None and read > self._last:
                inside = inside[:, : max(0, inside.shape[1] - (read - self._last))]
            if inside.shape[1]:
                yield inside
            if self._last is not None and read >= self._last:
                return
        rate = self.info.sample_rate
        if read <= self._first > 0:
            raise UsageError(_no_part(self._sound.path, read / rate, self._first / rate))

    def _blocks(self, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        pending: list[np.ndarray] = []
        length = 0
        for piece in pieces:
            if pending and length + piece.shape[1] > self._block_samples:
                yield np.concatenate(pending, axis=1)
                pending, length = [], 0
            pending.append(piece)
            length += piece.shape[1]
        if pending:
            yield np.concatenate(pending, axis=1)

    def _decode(self) -> Iterator[np.ndarray]:
        for packet in demux(self._container, self._sound.path, self._sound.stream):
            yield from self._sound.feed(packet)
        self._sound.finish()


def _info_of_part(info: AudioStreamInfo, start: float | None, end: float | None) -> AudioStreamInfo:
    if start is None and end is None:
        return info
    start = start or 0.0
    seconds = info.seconds
    if seconds is not None and info.exact_duration and start >= seconds:
        raise UsageError(_no_part(info.path, seconds, start))
    ends = [moment for moment in (seconds, end) if moment is not None]
    part = max(0.0, min(ends) - start) if ends else None
    return replace(info, seconds=part, start_seconds=info.start_seconds + start)


def _no_part(path: Path, seconds: float, start: float) -> str:
    return f"{path} ends at {seconds:.2f} s, before the start at {start:g} s."
