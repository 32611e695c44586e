"""Law of damaged and hostile media: one clear sentence, never other sound than the whole file's."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from clipsep.errors import ClipsepError
from clipsep.media import read_audio, read_video
from tests.media.test_media import reason, tones, write, write_video

N_FLIPS = 60
KINDS = ["flac", "ogg", "opus", "wav", "aiff", "w64", "au", "caf", "avi", "flv", "mp4", "mkv"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> dict[str, Path]:
    """Files of whose sound all bytes, or all samples, are accounted for."""
    folder = tmp_path_factory.mktemp("recordings")
    for kind in ("flac", "ogg", "opus"):
        write(folder / f"sound.{kind}", tones(48000, 2, 1.0), 48000, format=kind)
    for kind in ("wav", "aiff", "w64", "au", "caf"):
        soundfile.write(folder / f"sound.{kind}", tones(8000, 1, 12.0).T, 8000, subtype="PCM_16")
    write_video(folder / "film.avi", 2.0, ("mpeg4", "mp3"))
    write_video(folder / "film.flv", 2.0, ("flv", "mp3"), rate=44100)
    write_video(folder / "film.mp4", 2.0, ("mpeg4", "aac"))
    write_video(folder / "film.mkv", 2.0, ("mpeg4", "aac"))
    return {path.suffix[1:]: path for path in folder.iterdir()}


def heard(path: Path) -> np.ndarray | None:
    """What is read, None if the file is refused."""
    try:
        return read_audio(path)[0]
    except ClipsepError:
        return None


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
def test_a_flipped_bit_never_changes_the_sound(recordings, tmp_path, kind):
    whole = recordings[kind].read_bytes()
    original = heard(recordings[kind])
    rng = np.random.default_rng(0)
    path = tmp_path / f"flipped.{kind}"
    for place in rng.integers(8 * len(whole), size=N_FLIPS):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        found = heard(path)
        assert found is None or np.array_equal(found, original), f"bit {place}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.7, 0.991, 0.9999])
def test_the_shortest_cut_is_noticed(recordings, tmp_path, kind, share):
    whole = recordings[kind].read_bytes()
    assert heard(recordings[kind]) is not None
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole[: min(int(share * len(whole)), len(whole) - 1)])
    assert "truncated" in reason(path) or "copy" in reason(path)


def test_a_missing_ogg_page_is_noticed(recordings, tmp_path):
    whole = recordings["opus"].read_bytes()
    pages = [b"OggS" + page for page in whole.split(b"OggS")[1:]]
    path = tmp_path / "gap.opus"
    path.write_bytes(b"".join(pages[:2] + pages[3:]))
    assert "page is missing" in reason(path) or "truncated" in reason(path)
    path.write_bytes(b"".join(pages[:-1]))
    assert "truncated" in reason(path)
    path.write_bytes(whole + b"TAG" + bytes(125))
    np.testing.assert_array_equal(heard(path), heard(recordings["opus"]))


def wav(path: Path, tag: int = 1, channels: int = 1, rate: int = 44100, bits: int = 16) -> Path:
    """A WAV file whose header says what it is told to, with 16,000 bytes of silence."""
    block = max(1, channels * bits // 8)
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block % 2**16, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data"
    body = chunks + struct.pack("<I", 16000) + bytes(16000)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.parametrize("lie", [{"bits": 255}, {"bits": 0}, {"tag": 0xFFFE}, {"tag": 0xFFFF}])
def test_a_codec_that_is_not_known_is_one_sentence(tmp_path, lie):
    assert "cannot be decoded here" in reason(wav(tmp_path / "odd.wav", **lie))


def test_frames_of_an_unknown_codec_are_one_sentence(tmp_path):
    path = tmp_path / "film.avi"
    write_video(path, 1.0, ("mpeg4", "pcm_s16le"))
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    assert "cannot be decoded here" in reason(path, read_video)


def test_integers_of_64_bits_are_read(tmp_path):
    path = wav(tmp_path / "wide.wav", bits=64)
    values = np.array([0, 2**62, -(2**62), -(2**63)], np.int64)
    data = path.read_bytes()
    path.write_bytes(data[:44] + values.tobytes() + data[44 + values.nbytes :])
    np.testing.assert_array_equal(heard(path)[0, :4], [0, 0.5, -0.5, -1])


@pytest.mark.parametrize("rate", [1, 999, 768_001, 50_000_000, 2_100_000_000])
def test_rates_that_no_recording_has_are_refused(tmp_path, rate):
    """From the header: a few bytes at 1 Hz are hours, a few at 50 MHz are gigabytes."""
    assert f"claims {rate} samples per second" in reason(wav(tmp_path / "odd.wav", rate=rate))


@pytest.mark.parametrize("channels", [65, 65_535])
def test_channels_that_no_recording_has_are_refused(tmp_path, channels):
    assert re.search("claims|no sound", reason(wav(tmp_path / "odd.wav", channels=channels)))


def test_flipped_bits_of_matroska_and_wavpack_never_change_the_sound(recordings, tmp_path):
    """Checksums that ffmpeg writes, and reads only when it is told to."""
    sound = np.ascontiguousarray(tones(48000, 2, 1.0).T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(sound, "flt", "stereo")
    frame.sample_rate, frame.pts = 48000, 0
    with av.open(str(tmp_path / "whole.wv"), "w") as container:
        track = container.add_stream("wavpack", rate=48000, layout="stereo")
        resampler = av.AudioResampler(track.format, "stereo", 48000, 4096)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    for source in (tmp_path / "whole.wv", recordings["mkv"]):
        whole, original = source.read_bytes(), heard(source)
        assert original is not None
        rng = np.random.default_rng(0)
        path = tmp_path / f"flipped{source.suffix}"
        for place in rng.integers(8 * len(whole), size=N_FLIPS // 2):
            data = bytearray(whole)
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)
            found = heard(path)
            assert found is None or np.array_equal(found, original), f"{source.suffix}, {place}"


def test_an_mp3_that_lacks_frames_is_noticed(tmp_path):
    path = write(tmp_path / "a.mp3", tones(48000, 2, 1.0), 48000, format="mp3")
    assert heard(path) is not None
    path.write_bytes(path.read_bytes()[:-3000])
    assert "MP3 frames" in reason(path)
