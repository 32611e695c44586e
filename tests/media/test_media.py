"""Laws of reading and writing: exact lengths, true samples, one clear sentence for a bad file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from clipsep.errors import ClipsepError, UsageError
from clipsep.media import (
    OUTPUT_FORMATS,
    AudioReader,
    AudioWriter,
    StreamingResampler,
    check_writable,
    probe,
    read_audio,
    read_video,
    resample,
)
from tests.helpers.audio import FRAMES_PER_SECOND, tones, write, write_video


def reason(path: Path, read: object = read_audio) -> str:
    """The one sentence that reading a bad file gives; it must name the file."""
    with pytest.raises(ClipsepError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Reading


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 1e-7),
        ("FLOAT", 0),
        ("DOUBLE", 0),
        ("ULAW", 0.02),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (11025, 2), (44100, 6), (192000, 8)])
def test_wav_of_every_sample_type_is_read_to_the_sample(
    tmp_path, subtype, tolerance, rate, channels
):
    audio = tones(rate, channels, 0.3)
    path = tmp_path / "sound.wav"
    soundfile.write(path, audio.T, rate, subtype=subtype)
    found, found_rate = read_audio(path)
    assert found.dtype == np.float32
    assert found_rate == rate
    assert found.shape == audio.shape
    np.testing.assert_allclose(found, audio, atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", ["aiff", "flac", "caf", "w64", "rf64", "au"])
def test_other_exact_containers_are_read_to_the_sample(tmp_path, kind):
    audio = tones(22050, 2)
    path = tmp_path / f"sound.{kind}"
    soundfile.write(path, audio.T, 22050, format=kind.upper())
    found, _ = read_audio(path)
    assert found.shape == audio.shape
    np.testing.assert_allclose(found, audio, atol=2**-15)


def test_probe_describes_the_sound(tmp_path):
    path = write(tmp_path / "surround.flac", tones(48000, 6), 48000, format="flac")
    info = probe(path)
    assert (info.sample_rate, info.channels, info.layout) == (48000, 6, "5.1")
    assert info.seconds == pytest.approx(0.8)
    assert info.exact_duration
    assert not info.has_video
    assert probe(write(tmp_path / "a.wav", tones(8000, 1), 8000)).layout == "mono"


def test_blocks_are_short_and_add_up(tmp_path):
    audio = tones(44100, 2, 2.0)
    path = write(tmp_path / "sound.wav", audio, 44100)
    with AudioReader(path, block_seconds=0.25) as reader:
        blocks = list(reader)
    assert max(block.shape[1] for block in blocks) <= 0.25 * 44100
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio)


def test_mono_is_the_mean_and_rates_convert(tmp_path):
    audio = tones(44100, 2)
    path = write(tmp_path / "sound.wav", audio, 44100)
    np.testing.assert_allclose(read_audio(path, mono=True)[0], audio.mean(axis=0), atol=1e-7)
    found, rate = read_audio(path, sample_rate=16000)
    assert rate == 16000
    assert found.shape == (2, round(audio.shape[1] * 16000 / 44100))
    np.testing.assert_allclose(np.std(found[:, 500:-500]), np.std(audio), rtol=0.02)


def test_one_sample_is_a_sound(tmp_path):
    path = write(tmp_path / "click.wav", np.full((1, 1), 0.5, np.float32), 16000)
    np.testing.assert_array_equal(read_audio(path)[0], [[0.5]])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_read(tmp_path):
    audio = tones(16000, 1)
    data = write(tmp_path / "sound.wav", audio, 16000).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=pipe.write_bytes, args=(data,))
    feeder.start()
    found, _ = read_audio(pipe)
    feeder.join()
    np.testing.assert_array_equal(found, audio)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("http:take 1.wav"), tones(8000, 1), 8000)
    assert read_audio("http:take 1.wav")[0].shape == (1, 6400)


def test_unknown_length_in_a_streamed_wav_is_no_truncation(tmp_path):
    audio = tones(16000, 1)
    data = bytearray(write(tmp_path / "sound.wav", audio, 16000).read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "streamed.wav"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_audio(path)[0], audio)


# Bad files


def test_missing_folder_empty_text_and_noise(tmp_path):
    assert "does not exist" in reason(tmp_path / "nothing.wav")
    assert "is a folder" in reason(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "is empty" in reason(tmp_path / "empty.wav")
    (tmp_path / "text.wav").write_text("hello there\n" * 50)
    assert "not a sound or video file" in reason(tmp_path / "text.wav")
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(40_000))
    reason(tmp_path / "noise.mp3")


def test_a_playlist_cannot_pull_in_other_files(tmp_path):
    write(tmp_path / "sound.wav", tones(8000, 1), 8000)
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile sound.wav\n")
    assert "not a sound or video file" in reason(tmp_path / "list.wav")


def test_no_sound_and_no_samples(tmp_path):
    write_video(tmp_path / "silent.mp4", 1.0, ("mpeg4", None))
    assert "has no sound" in reason(tmp_path / "silent.mp4")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), 16000)
    assert "zero length" in reason(tmp_path / "none.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named_by_its_time(tmp_path, bad):
    audio = tones(16000, 2, 2.0)
    audio[1, 24000] = bad
    path = tmp_path / "sound.wav"
    soundfile.write(path, audio.T, 16000, subtype="FLOAT")
    assert "at 1.500 s" in reason(path)


SOUNDS = [
    ("PCM_16.wav", None),
    ("PCM_U8.wav", None),
    ("FLOAT.wav", None),
    ("IMA_ADPCM.wav", None),
    ("PCM_16.aiff", None),
    ("PCM_16.flac", None),
    ("sound.mp3", "mp3"),
    ("sound.ogg", "ogg"),
    ("sound.opus", "opus"),
    ("sound.m4a", "m4a"),
]
FILMS = [
    ("film.mp4", ("mpeg4", "aac"), {}),
    ("fast.mp4", ("libx264", "aac"), {"movflags": "faststart"}),
    ("film.mkv", ("libx264", "flac"), {}),
    ("film.mov", ("mpeg4", "pcm_s16le"), {}),
    ("film.webm", ("libvpx", "libopus"), {}),
]


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    audio = tones(48000, 2, 3.0)
    for name, kind in SOUNDS:
        if kind:
            write(folder / name, audio, 48000, format=kind)
        else:
            soundfile.write(folder / name, audio.T, 48000, subtype=name.split(".")[0])
    for name, codecs, options in FILMS:
        write_video(folder / name, 3.0, codecs, **options)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [entry[0] for entry in SOUNDS + FILMS])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_file_is_refused(whole_files, tmp_path, name, share):
    data = whole_files[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    # A film may lose more frames than sound: only what is missing can be named.
    message = reason(path)
    assert re.search("truncated|complete copy|damaged", message)


@pytest.mark.parametrize("name", ["PCM_16.wav", "PCM_16.flac", "sound.mp3"])
def test_the_sentence_says_how_much_is_missing(whole_files, tmp_path, name):
    data = whole_files[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    assert re.search(
        r"truncated: it declares 3\.\d\d s of sound but only [01]\.\d\d s could be read",
        reason(path),
    )


@pytest.mark.parametrize(
    "name", ["PCM_16.flac", "sound.mp3", "sound.ogg", "sound.opus", "sound.m4a", "film.webm"]
)
def test_garbage_in_the_middle_is_an_error(whole_files, tmp_path, name):
    data = bytearray(whole_files[name].read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = np.random.default_rng(0).bytes(len(data) // 10)
    path = tmp_path / name
    path.write_bytes(data)
    assert re.search("damaged|truncated", reason(path))


def test_harmless_garbage_around_mp3_is_forgiven(whole_files, tmp_path):
    data = whole_files["sound.mp3"].read_bytes()
    path = tmp_path / "tagged.mp3"
    path.write_bytes(b"\0" * 2000 + data + b"TAG" + b"\0" * 125)
    found, _ = read_audio(path)
    assert abs(found.shape[1] - 3 * 48000) <= 2304


def test_the_sound_of_whole_films_is_read(whole_files):
    for name, _, _ in FILMS:
        info = probe(whole_files[name])
        assert info.has_video
        found, rate = read_audio(whole_files[name])
        assert rate == 48000
        assert abs(found.shape[1] - 3 * 48000) <= 1024, name


def test_a_change_of_format_within_a_file_is_one_sentence(tmp_path):
    parts = []
    for rate in (44100, 22050):
        part = tmp_path / f"{rate}.aac"
        write_video(part, 8.0, (None, "aac"), rate)
        parts.append(part.read_bytes())
    path = tmp_path / "two.aac"
    path.write_bytes(b"".join(parts))
    message = reason(path)
    assert "44100 Hz, 2 channels to 22050 Hz, 2 channels" in message
    assert "at 8.0" in message


def test_nothing_is_printed(whole_files, tmp_path):
    """Ffmpeg writes to the file descriptor itself, so a process of its own has to listen."""
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(whole_files["sound.mp3"].read_bytes()[:-700])
    code = (
        "import sys; from clipsep.media import read_audio\n"
        "try: read_audio(sys.argv[1])\n"
        "except Exception as error: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, broken], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Resampling


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(44100, 16000), (16000, 44100), (48000, 16000), (11025, 16000)]
)
@pytest.mark.parametrize("length", [1, 7, 1000, 33333])
def test_streaming_resampler_keeps_the_exact_length(rate_in, rate_out, length):
    audio = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    stream = StreamingResampler(rate_in, rate_out)
    pieces = [stream.push(audio[start : start + 901]) for start in range(0, length, 901)]
    pieces.append(stream.push(audio[:0], last=True))
    streamed = np.concatenate(pieces)
    assert len(streamed) == round(length * rate_out / rate_in)
    whole = StreamingResampler(rate_in, rate_out).push(audio, last=True)
    np.testing.assert_allclose(streamed, whole, atol=1e-5)


def test_equal_rates_pass_through():
    stream = StreamingResampler(16000, 16000)
    block = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(stream.push(block), block)
    assert len(stream.push(block[:0], last=True)) == 0


# Writing


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize(("kind", "tolerance"), [("wav", 0), ("flac", 2**-24)])
def test_exact_formats_round_trip(tmp_path, kind, tolerance, rate, channels):
    audio = tones(rate, channels, 0.3)
    path = write(tmp_path / f"sound.{kind}", audio, rate, format=kind)
    found, found_rate = read_audio(path)
    assert (found.shape, found_rate) == (audio.shape, rate)
    np.testing.assert_allclose(found, audio, atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        ("mp3", 44100, 2),
        ("mp3", 48000, 1),
        ("mp3", 22050, 2),
        ("mp3", 8000, 1),
        ("ogg", 44100, 2),
        ("ogg", 96000, 1),
        ("opus", 48000, 2),
        ("opus", 48000, 6),
        ("opus", 48000, 8),
        ("m4a", 44100, 2),
        ("m4a", 11025, 1),
        ("m4a", 48000, 8),
    ],
)
def test_lossy_formats_keep_length_loudness_and_channels(tmp_path, kind, rate, channels):
    audio = tones(rate, channels, 2.3456)
    path = write(tmp_path / f"sound.{kind}", audio, rate, format=kind)
    found, found_rate = read_audio(path)
    assert found_rate == rate
    # ffmpeg misplaces the end of short Vorbis files by less than one block.
    assert abs(found.shape[1] - audio.shape[1]) <= (2048 if kind == "ogg" else 0)
    length = min(found.shape[1], audio.shape[1])
    gains = audio[:, :length] @ found[:, :length].T / np.sum(audio[:, :length] ** 2, axis=1)
    np.testing.assert_allclose(gains, np.eye(channels), atol=0.02)


def test_opus_of_a_rate_that_it_does_not_have_is_resampled(tmp_path):
    """Nearly all music has 44.1 kHz; the sound is the same, as long to the sample, at 48 kHz."""
    audio = tones(44_100, 2, 2.3456)
    with AudioWriter(tmp_path / "sound.opus", 44_100, 2, format="opus") as writer:
        for block in np.array_split(audio, 7, axis=1):
            writer.write(block)
    assert writer.sample_rate == 48_000
    found, rate = read_audio(tmp_path / "sound.opus")
    expected = resample(audio, 44_100, 48_000)
    assert rate == 48_000 and found.shape == expected.shape
    gains = expected @ found.T / np.sum(expected**2, axis=1)
    np.testing.assert_allclose(gains, np.eye(2), atol=0.02)


def test_layouts_survive(tmp_path):
    for layout in ("5.1(side)", "quad", "7.1"):
        channels = av.AudioLayout(layout).nb_channels
        path = write(tmp_path / "sound.wav", tones(8000, channels), 8000, layout=layout)
        assert probe(path).layout == layout
    # An encoder that does not know the name gets the usual one for as many channels.
    path = write(tmp_path / "a.opus", tones(48000, 6), 48000, layout="5.1(side)", format="opus")
    assert probe(path).layout == "5.1"


def test_clipping_is_counted_except_in_float(tmp_path):
    audio = np.array([[0.5, 1.5, -2.0, 1.0]], np.float32)
    for kind, count in (("wav", 0), ("flac", 2)):
        with AudioWriter(tmp_path / f"loud.{kind}", 16000, 1, format=kind) as writer:
            writer.write(audio)
        assert writer.clipped == count
    np.testing.assert_array_equal(read_audio(tmp_path / "loud.wav")[0], audio)
    np.testing.assert_allclose(read_audio(tmp_path / "loud.flac")[0], [[0.5, 1, -1, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rate", "channels", "word"),
    [
        ("mp3", 96000, 2, "96000 Hz"),
        ("mp3", 44100, 8, "8 channel"),
        ("ogg", 44100, 6, "6 channel"),
        ("flac", 44100, 9, "9 channel"),
        ("aiff", 44100, 2, "wav, flac, mp3"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_work(tmp_path, kind, rate, channels, word):
    with pytest.raises(UsageError, match=word):
        AudioWriter(tmp_path / f"sound.{kind}", rate, channels, format=kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", OUTPUT_FORMATS)
def test_an_exception_leaves_nothing_behind(tmp_path, kind):
    path = tmp_path / f"sound.{kind}"
    path.write_text("older")
    with pytest.raises(RuntimeError), AudioWriter(path, 48000, 2, format=kind) as writer:
        writer.write(tones(48000, 2))
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "older"


def test_the_file_appears_only_when_finished(tmp_path):
    path = tmp_path / "new" / "folder" / "sound.wav"
    with AudioWriter(path, 16000, 1) as writer:
        writer.write(tones(16000, 1))
        assert not path.exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["sound.wav"]


def test_the_same_sound_gives_the_same_bytes(tmp_path):
    for kind in ("wav", "flac", "mp3", "m4a"):
        first = write(tmp_path / f"1.{kind}", tones(44100, 2), 44100, format=kind)
        second = write(tmp_path / f"2.{kind}", tones(44100, 2), 44100, format=kind)
        assert first.read_bytes() == second.read_bytes(), kind


def test_check_writable(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folder" / "sound.wav")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ClipsepError, match="not a folder"):
        check_writable(tmp_path / "file" / "sound.wav")
    with pytest.raises(ClipsepError, match="not a folder"):
        AudioWriter(tmp_path / "file" / "sound.wav", 16000, 1)
    with pytest.raises(ClipsepError, match="is a folder"):
        AudioWriter(tmp_path, 16000, 1)


# Video


@pytest.mark.parametrize("name", [entry[0] for entry in FILMS])
def test_a_film_is_read_in_one_pass(whole_files, name):
    video = read_video(whole_files[name])
    assert abs(len(video.audio) - 48000) <= 400
    mono = tones(48000, 2, 3.0).mean(axis=0)
    expected = StreamingResampler(48000, 16000).push(mono, last=True)
    length = min(len(expected), len(video.audio))
    likeness = np.corrcoef(expected[:length], video.audio[:length])[0, 1]
    assert likeness > 0.98
    assert len(video.frames) == 3
    for index, frame in enumerate(video.frames):
        assert (frame.size, frame.mode) == ((224, 224), "RGB")
        red = frame.getpixel((150, 112))[0]
        shown = FRAMES_PER_SECOND * (index + 0.5)
        assert abs(red - 8 * shown) < 5, "the frame shown at that moment"
    # 64 x 48 cut to the middle 48: half of the 16 blue columns remain.
    assert video.frames[0].getpixel((15, 112))[2] > 180
    assert video.frames[0].getpixel((60, 112))[2] < 80


def test_other_rates_of_frames_and_sizes(whole_files):
    video = read_video(whole_files["film.mp4"], sample_rate=8000, fps=2, size=32)
    assert video.sample_rate == 8000
    assert [frame.size for frame in video.frames] == [(32, 32)] * 6
    reds = [frame.getpixel((20, 16))[0] for frame in video.frames]
    np.testing.assert_allclose(reds, [8 * (int(2.5 + 5 * index)) for index in range(6)], atol=5)


def test_a_film_shorter_than_a_second_has_one_frame(tmp_path):
    write_video(tmp_path / "short.mp4", 0.4)
    assert len(read_video(tmp_path / "short.mp4").frames) == 1


def test_sound_that_starts_late_is_put_in_its_place(tmp_path):
    write_video(tmp_path / "late.mkv", 2.0, ("mpeg4", "pcm_s16le"), delay=0.5)
    video = read_video(tmp_path / "late.mkv")
    assert len(video.audio) == pytest.approx(2.5 * 16000, abs=50)
    assert np.abs(video.audio[:7900]).max() == 0
    assert np.abs(video.audio[8100:8400]).max() > 0.1


@pytest.mark.parametrize("start", [10, 1000])
def test_a_film_whose_clock_starts_late_is_read_from_its_first_frame(tmp_path, start):
    """Broadcasts and their recordings count the time from anywhere."""
    path = tmp_path / "broadcast.ts"
    write_video(path, 3.0, ("mpeg2video", "mp2"), output_ts_offset=str(start))
    video = read_video(path)
    assert len(video.audio) == pytest.approx(3.0 * 16000, abs=1600)
    assert np.abs(video.audio[1600:4800]).max() > 0.1
    assert len(video.frames) == len(video.audio) // 16000
    reds = [frame.getpixel((150, 112))[0] for frame in video.frames[:2]]
    np.testing.assert_allclose(reds, [8 * 5, 8 * 15], atol=9)


def test_a_turned_camera_gives_upright_frames(tmp_path):
    path = tmp_path / "turned.mp4"
    write_video(path, 1.0, size=(64, 64))
    data = bytearray(path.read_bytes())
    upright = b"".join(v.to_bytes(4, "big", signed=True) for v in (65536, 0, 0, 0, 65536, 0))
    clockwise = b"".join(v.to_bytes(4, "big", signed=True) for v in (0, 65536, 0, -65536, 0, 0))
    at = data.index(upright, data.index(b"tkhd"))
    data[at : at + len(upright)] = clockwise
    path.write_bytes(data)
    frame = read_video(path).frames[0]
    assert frame.getpixel((112, 20))[2] > 180  # blue was on the left, now on top
    assert frame.getpixel((20, 112))[2] < 80


def test_films_that_cannot_serve(whole_files, tmp_path):
    write_video(tmp_path / "silent.mp4", 1.0, ("mpeg4", None))
    assert "has no sound" in reason(tmp_path / "silent.mp4", read_video)
    write_video(tmp_path / "black.mp4", 1.0, (None, "aac"))
    assert "has no video" in reason(tmp_path / "black.mp4", read_video)
    data = whole_files["fast.mp4"].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    assert "truncated" in reason(tmp_path / "cut.mp4", read_video)
    (tmp_path / "text.mp4").write_text("not a film")
    assert "not a sound or video file" in reason(tmp_path / "text.mp4", read_video)
    assert "does not exist" in reason(tmp_path / "nothing.mp4", read_video)
