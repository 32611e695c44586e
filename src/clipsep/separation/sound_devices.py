"""A microphone and speakers that never wait for the separation, however unevenly it takes and gives."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError, UsageError, require

_BLOCK_SECONDS = 0.05
_CUSHION_SECONDS = 0.1
_MOST_SECONDS = 1.0  # of sound that waits: what the machine cannot separate in time is given up
_PATIENCE = 0.5  # seconds without a sample before the microphone is asked whether it still runs


class PlayBuffer:
    """Samples that come in bursts and are taken evenly.

    Where none are left silence is played, and after it, as at the start, a cushion of more silence: so each
    gap makes the next one less likely. What exceeds the limit is dropped, the oldest first.

    Args:
        channels: C.
        cushion: its length in samples.
        most: limit of the samples that wait.

    Attributes:
        gaps: how often samples came too late.
    """

    def __init__(self, channels: int, cushion: int, most: int):
        self._channels, self._cushion, self._most = channels, cushion, most
        self._waiting: deque[np.ndarray] = deque()  # [C, n] each, none of them empty
        self._silence = 0  # what is left of the cushion
        self._playing = False
        self._lock = Lock()
        self.gaps = 0

    def push(self, samples: np.ndarray) -> None:
        """Add samples [C, n]."""
        with self._lock:
            if samples.shape[1]:
                self._waiting.append(samples)
            excess = sum(block.shape[1] for block in self._waiting) - self._most
            if excess > 0:
                self._take(excess)

    def pull(self, n: int) -> np.ndarray:
        """Take the next ``n`` samples, [C, n], at once."""
        out = np.zeros((self._channels, n), np.float32)
        with self._lock:
            if not self._playing:
                if not self._waiting:
                    return out
                self._playing, self._silence = True, self._cushion
            silence = min(n, self._silence)
            self._silence -= silence
            samples = self._take(n - silence)
            end = silence + samples.shape[1]
            out[:, silence:end] = samples
            if end < n:
                self._playing = False
                self.gaps += 1
        return out

    def _take(self, n: int) -> np.ndarray:
        """Take at most ``n`` of the samples that wait."""
        taken = [np.empty((self._channels, 0), np.float32)]
        while n and self._waiting:
            block = self._waiting.popleft()
            if block.shape[1] > n:
                self._waiting.appendleft(block[:, n:])
            taken.append(block[:, :n])
            n -= taken[-1].shape[1]
        return np.concatenate(taken, axis=1)


class SoundDevices:
    """The default microphone and speakers, open while the object is used as a context manager.

    Args:
        rate: in Hz.
        channels: of both.

    Raises:
        UsageError: if there is no library for them or no such device.
    """

    def __init__(self, rate: int, channels: int):
        require("sounddevice", extra="live", purpose="hearing and playing sound")
        try:
            import sounddevice
        except OSError as error:  # the package is there, the system's library PortAudio is not
            raise UsageError(
                f"Sound devices need the library PortAudio ({error}): install it, or use --raw."
            ) from error
        self._portaudio = sounddevice
        self._settings: dict[str, Any] = {
            "samplerate": rate,
            "channels": channels,
            "dtype": "float32",
            "blocksize": round(_BLOCK_SECONDS * rate),
        }
        self._heard: queue.Queue[np.ndarray] = queue.Queue(round(_MOST_SECONDS / _BLOCK_SECONDS))
        self._played = PlayBuffer(
            channels, round(_CUSHION_SECONDS * rate), round(_MOST_SECONDS * rate)
        )
        self._lost = 0
        self._opened = ExitStack()

    def __enter__(self) -> SoundDevices:
        with ExitStack() as stack:
            try:
                self._microphone = stack.enter_context(
                    self._portaudio.InputStream(callback=self._hear, **self._settings)
                )
                stack.enter_context(
                    self._portaudio.OutputStream(callback=self._fill, **self._settings)
                )
            except self._portaudio.PortAudioError as error:
                raise UsageError(f"The sound devices cannot be used: {error}.") from error
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def gaps(self) -> int:
        """How often this machine was too slow: a sound was played late, or one was not heard."""
        return self._played.gaps + self._lost

    def heard(self) -> Iterator[np.ndarray]:
        """Yield blocks [C, n] of the microphone, without end.

        Raises:
            ClipsepError: if it stops, for instance because it was unplugged.
        """
        while True:
            try:
                yield self._heard.get(timeout=_PATIENCE)
            except queue.Empty:
                if not self._microphone.active:
                    raise ClipsepError(
                        "The microphone stopped: check that it is still there."
                    ) from None

    def play(self, samples: np.ndarray) -> None:
        """Play samples [C, n] after those that were given before."""
        self._played.push(samples)

    # The two run in threads of PortAudio, which must not be kept waiting.

    def _hear(self, samples: np.ndarray, *_: object) -> None:
        try:
            self._heard.put_nowait(samples.T.copy())
        except queue.Full:
            self._lost += 1

    def _fill(self, out: np.ndarray, *_: object) -> None:
        out[:] = self._played.pull(len(out)).T
