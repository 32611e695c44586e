"""Laws of what is between sound devices and the separation; the devices are played by the tests."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.separation.sound_devices import PlayBuffer, SoundDevices

RATE, BLOCK = 8000, 400


def ramp(start: int, n: int) -> np.ndarray:
    """Samples of two channels that tell their place."""
    return np.stack([np.arange(start, start + n), -np.arange(start, start + n)]).astype(np.float32)


def test_samples_are_played_once_in_order_after_the_cushion():
    buffer = PlayBuffer(2, cushion=30, most=1000)
    assert not buffer.pull(25).any()
    for start in range(1, 101, 20):
        buffer.push(ramp(start, 20))
    heard = np.concatenate([buffer.pull(n) for n in (7, 50, 1, 22, 50)], axis=1)
    assert np.array_equal(heard, np.concatenate([np.zeros((2, 30)), ramp(1, 100)], axis=1))
    assert buffer.gaps == 0


def test_what_is_late_by_less_than_the_cushion_is_not_noticed():
    buffer = PlayBuffer(2, cushion=30, most=1000)
    buffer.push(ramp(1, 100))
    heard = [buffer.pull(130 - 1)]
    buffer.push(ramp(101, 100))
    heard.append(buffer.pull(101))
    assert np.array_equal(np.concatenate(heard, axis=1)[:, 30:], ramp(1, 200))
    assert buffer.gaps == 0


def test_what_is_later_makes_one_gap_and_a_new_cushion():
    buffer = PlayBuffer(2, cushion=30, most=1000)
    buffer.push(ramp(1, 100))
    buffer.pull(130)
    assert not buffer.pull(20).any() and not buffer.pull(20).any()
    assert buffer.gaps == 1
    buffer.push(ramp(101, 100))
    assert not buffer.pull(30).any()
    assert np.array_equal(buffer.pull(100), ramp(101, 100))


def test_what_exceeds_the_limit_is_dropped_from_the_oldest_on():
    buffer = PlayBuffer(2, cushion=0, most=50)
    buffer.push(ramp(1, 40))
    buffer.push(ramp(41, 40))
    assert np.array_equal(buffer.pull(50), ramp(31, 50))


class PortAudio(SimpleNamespace):
    """Streams whose callbacks are called when the test says so."""

    class PortAudioError(Exception): ...

    def __init__(self):
        self.open: list[str] = []
        super().__init__(InputStream=self._stream("in"), OutputStream=self._stream("out"))

    def _stream(self, kind: str):
        devices = self

        class Stream:
            active = True

            def __init__(self, callback, samplerate, channels, dtype, blocksize):
                assert (samplerate, channels, dtype, blocksize) == (RATE, 2, "float32", BLOCK)
                setattr(devices, kind, self)
                self.callback = callback

            def __enter__(self):
                devices.open.append(kind)
                return self

            def __exit__(self, *_):
                devices.open.remove(kind)

        return Stream


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    fake = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr("clipsep.separation.sound_devices.require", lambda *_, **__: None)
    monkeypatch.setattr("clipsep.separation.sound_devices._PATIENCE", 0.01)
    return fake


def test_what_is_heard_can_be_played(portaudio: PortAudio):
    with SoundDevices(RATE, 2) as devices:
        assert portaudio.open == ["in", "out"]
        heard = devices.heard()
        samples = ramp(1, BLOCK).T.copy()
        portaudio.__dict__["in"].callback(samples, BLOCK, None, None)
        samples[:] = 0  # PortAudio uses its memory again
        block = next(heard)
        assert np.array_equal(block, ramp(1, BLOCK))
        devices.play(block)
        out = np.empty((RATE // 10 + BLOCK, 2), np.float32)
        portaudio.out.callback(out, len(out), None, None)
        assert np.array_equal(out[RATE // 10 :].T, block) and not out[: RATE // 10].any()
        assert devices.gaps == 0
    assert portaudio.open == []


def test_a_machine_that_is_too_slow_loses_sound_and_not_time(portaudio: PortAudio):
    with SoundDevices(RATE, 2) as devices:
        for start in range(0, 2 * RATE, BLOCK):
            portaudio.__dict__["in"].callback(ramp(start, BLOCK).T, BLOCK, None, None)
        assert devices.gaps == RATE // BLOCK  # of two seconds one waits


def test_a_microphone_that_stops_is_one_sentence(portaudio: PortAudio):
    with pytest.raises(ClipsepError, match="microphone stopped"), SoundDevices(RATE, 2) as devices:
        portaudio.__dict__["in"].active = False
        next(devices.heard())
    assert portaudio.open == []


def test_devices_that_cannot_be_opened_are_one_sentence(portaudio: PortAudio):
    def refuse(**_):
        raise portaudio.PortAudioError("no such device")

    portaudio.OutputStream = refuse
    with pytest.raises(UsageError, match="no such device"):
        SoundDevices(RATE, 2).__enter__()
    assert portaudio.open == []
