"""What else `clipsep separate` can be asked for: parts, videos, frames, pipes, names and formats."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

from clipsep import Frame, Separator, UsageError
from clipsep.cli import main
from clipsep.media import AudioReader, Tags, probe, read_audio, read_frame, read_tags
from tests.helpers.audio import tones, write, write_video

RATE = 16_000


def run(*argv: object) -> int:
    return main([str(one) for one in argv])


@pytest.fixture
def film(tmp_path):
    write_video(tmp_path / "film.mp4", seconds=3.0)
    return tmp_path / "film.mp4"


def packets(path) -> list[tuple]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        return [
            (bytes(packet), round(float(packet.pts * base), 4), packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size
        ]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_video_keeps_its_frames_bit_for_bit_and_gets_the_new_sound(tmp_path, model, suffix):
    path = tmp_path / f"film.{suffix}"
    write_video(path, seconds=3.0)
    assert (
        run("separate", path, "-q", "rain", "--video", "-o", tmp_path / "out", "--model", model)
        == 0
    )
    result = tmp_path / "out" / f"film.rain.{suffix}"
    assert packets(result) == packets(path)
    original, rate = read_audio(path)
    sound, new_rate = read_audio(result)
    expected = Separator.from_pretrained(model).separate(original, rate, ["rain"]).targets["rain"]
    assert new_rate == rate
    assert abs(sound.shape[1] - expected.shape[1]) <= 0.03 * rate
    n = min(sound.shape[1], expected.shape[1])
    error = np.square(sound[:, :n] - expected[:, :n]).sum() / np.square(expected[:, :n]).sum()
    assert (
        10 * np.log10(error) < -10
    )  # no delay: these tones would be out of phase after a millisecond


def test_a_sound_that_starts_later_stays_where_it_was(tmp_path, model):
    path = tmp_path / "late.mp4"
    write_video(path, seconds=3.0, delay=0.5)
    assert run("separate", path, "-q", "rain", "--video", "-o", tmp_path, "--model", model) == 0
    assert probe(tmp_path / "late.rain.mp4").start_seconds == pytest.approx(
        probe(path).start_seconds, abs=0.03
    )


def test_sound_alone_cannot_become_a_video(recording, model, tmp_path, capsys):
    argv = (
        "separate",
        recording,
        "-q",
        "rain",
        "--video",
        "-o",
        tmp_path / "out",
        "--model",
        model,
    )
    assert run(*argv) == 2
    assert "no frames" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_frame_is_the_moment_that_it_names(film):
    for seconds in (0.0, 1.25, 2.9):
        red = np.asarray(read_frame(film, seconds))[24, 40, 0]
        assert abs(int(red) - 8 * int(seconds * 10)) <= 8  # the film's red counts its frames
    left = np.asarray(Frame.parse("1.25:0,0,0.25,1").read(film))
    assert left.shape[1] == 16 and left[..., 2].mean() > 150  # its left quarter is blue
    np.testing.assert_array_equal(read_frame(film, 3.0), read_frame(film, 2.9))
    for seconds in (3.2, 60.0):  # after the last frame, which is shown for a tenth of a second
        with pytest.raises(UsageError, match=r"ends at 3\.00 s"):
            read_frame(film, seconds)


def test_frames_are_queries(film, model, tmp_path, capsys):
    argv = ("separate", film, "--frame", "1.2", "--frame", "0:01.2:0,0,0.5,1", "--json")
    assert run(*argv, "-o", tmp_path / "out", "--model", model) == 0
    names = [target["query"] for target in json.loads(capsys.readouterr().out)["targets"]]
    assert names == ["frame 1.2", "frame 1.2 0,0,0.5,1"]
    assert run("separate", film, "--frame", "1.2:0,0,2,1", "--model", model) == 2
    assert run("separate", film, "--frame", "noon", "--model", model) == 2


def test_start_and_end_choose_a_part(tmp_path, model, capsys):
    mixture = tones(RATE, 2, 9.0)
    path = write(tmp_path / "in.wav", mixture, RATE)
    argv = ("separate", path, "-q", "rain", "-o", tmp_path, "--model", model, "--json")
    assert run(*argv, "--start", "0:02", "--end", "5.5") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == 3.5
    part = mixture[:, 2 * RATE : round(5.5 * RATE)]
    expected = Separator.from_pretrained(model).separate(part, RATE, ["rain"]).targets["rain"]
    np.testing.assert_allclose(read_audio(tmp_path / "in.rain.wav")[0], expected, atol=1e-6)
    with AudioReader(path, start=8.0) as reader:
        assert reader.info.seconds == pytest.approx(1.0)
        assert sum(block.shape[1] for block in reader) == RATE
    assert run(*argv, "--start", "20") == 2


def test_pipes_take_and_give_the_same_sound(tmp_path, model, monkeypatch, recording):
    sent = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(recording.read_bytes())))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=sent, flush=lambda: None))
        assert run("separate", "-", "-q", "rain", "-o", "-", "--model", model) == 0
    assert run("separate", recording, "-q", "rain", "-o", tmp_path / "out", "--model", model) == 0
    assert sent.getvalue() == (tmp_path / "out" / "street.rain.wav").read_bytes()
    assert run("separate", recording, "-q", "rain", "-q", "wind", "-o", "-", "--model", model) == 2


def give_stdin(patch: pytest.MonkeyPatch, content: bytes) -> None:
    patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_what_comes_from_a_pipe_is_the_standard_input(model, monkeypatch, recording, capsys):
    argv = ("separate", "-", "-q", "rain", "--model", model)
    give_stdin(monkeypatch, b"")
    assert run(*argv) == 1
    assert capsys.readouterr().err.startswith("clipsep: error: The standard input is empty")
    give_stdin(monkeypatch, recording.read_bytes())
    assert run(*argv) == 0
    assert "the standard input" in capsys.readouterr().out
    for command in ((*argv, "--json"), ("find", *argv[1:], "--format", "json")):
        give_stdin(monkeypatch, recording.read_bytes())
        assert run(*command) == 0
        assert json.loads(capsys.readouterr().out)["input"] == "the standard input"


def test_one_file_that_is_there_is_one_object(model, recording, capsys):
    argv = ("separate", recording, "-q", "rain", "--model", model, "--skip-existing", "--json")
    for status in (None, "skipped"):
        assert run(*argv) == 0
        entry = json.loads(capsys.readouterr().out)
        assert (entry["input"], entry.get("status")) == (str(recording), status)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--bit-rate", "abc"), "--bit-rate takes a whole number"),
        (("--sensitivity", "much"), "--sensitivity takes a number"),
        (("--format", "exe"), "The format 'exe' cannot be written: choose one of"),
        (("--format", "mp3", "--bit-depth", "16"), "mp3 has no bit depth: leave it out"),
        (("--image", "x.wav"), "'x.wav' is audio, not an image: ask for such a sound with --like"),
    ],
)
def test_wrong_values_are_said_in_one_clear_sentence(refused, recording, arguments, says):
    refused(2, "separate", recording, "-q", "rain", *arguments, names=says)


def test_what_was_found_in_other_inputs_is_kept(tmp_path, model, recording, capsys):
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(recording.read_bytes()[:30_000])
    other = write(tmp_path / "other.wav", tones(RATE, 1), RATE)
    argv = ("find", recording, damaged, other, "-q", "rain", "--model", model)
    assert run(*argv) == 1
    out, err = capsys.readouterr()
    assert f"{recording}:\n" in out and f"{other}:\n" in out and out.count("rain") == 2
    assert err.startswith("clipsep: error: ") and str(damaged) in err and err.count("\n") == 1
    assert run(*argv, "--format", "json") == 1
    entries = json.loads(capsys.readouterr().out)
    assert [entry["input"] for entry in entries] == [str(recording), str(damaged), str(other)]
    assert entries[1]["status"] == "failed" and "truncated" in entries[1]["reason"]
    assert run(*argv, "--format", "csv") == 1
    assert {line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]} <= {
        str(recording),
        str(other),
    }


def test_a_wrong_request_is_refused_once_and_not_for_each_input(
    tmp_path, recording, model, refused
):
    other = write(tmp_path / "other.wav", tones(RATE, 1), RATE)
    argv = (recording, other, "--model", model)
    refused(2, "find", *argv, "-q", " ", names="empty")
    refused(2, "find", *argv, "-q", "rain", "--threshold", "2", names="threshold")
    refused(2, "scan", *argv, names="does not say which sounds it knows")


def test_timelines_are_png(refused, recording):
    refused(2, "find", recording, "-q", "rain", "--plot", "x.jpg", names=".png")


def test_too_many_channels_are_counted(tmp_path, model, refused):
    path = write(tmp_path / "six.wav", tones(RATE, 6), RATE)
    argv = ("separate", path, "-q", "rain", "--model", model, "--format", "mp3")
    refused(2, *argv, names="the format mp3 cannot hold 6 channels, only 1 or 2")


def test_formats_names_and_tags(tmp_path, model):
    path = write(
        tmp_path / "in.flac", tones(RATE, 1), RATE, format="flac", tags=Tags({"title": "Rain"})
    )
    argv = ("separate", path, "-q", "rain", "-o", tmp_path / "out", "--model", model)
    assert run(*argv, "--bit-depth", "16", "--filename", "{query}/{stem}.{ext}") == 0
    assert soundfile.info(tmp_path / "out" / "rain" / "in.wav").subtype == "PCM_16"
    assert read_tags(tmp_path / "out" / "rain" / "in.wav").values["title"] == "Rain"
    sizes = []
    for rate in ("32", "96"):
        assert run(*argv, "--format", "mp3", "--bit-rate", rate) == 0
        sizes.append((tmp_path / "out" / "in.rain.mp3").stat().st_size)
    assert 2.0 < sizes[1] / sizes[0] < 3.5
    assert run(*argv, "--format", "mp3", "--bit-rate", "5000") == 2


def test_existing_files_are_left_alone_if_wanted(tmp_path, model, recording, capsys):
    argv = ("separate", recording, "-q", "rain", "-o", tmp_path / "out", "--model", model)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "street.rain.wav"
    target.write_bytes(b"mine")
    assert run(*argv, "--skip-existing") == 0
    assert target.read_bytes() == b"mine"
    other = write(tmp_path / "other.wav", tones(RATE, 1), RATE)
    assert run(*argv[:2], other, *argv[2:], "--skip-existing", "--json") == 0
    assert target.read_bytes() == b"mine"
    assert {entry["status"] for entry in json.loads(capsys.readouterr().out.split("\n", 1)[1])} == {
        "skipped",
        "separated",
    }
    assert run(*argv) == 0
    assert target.read_bytes() != b"mine"


def test_results_save_themselves(tmp_path, model):
    mixture = tones(RATE, 2)
    result = Separator(model).separate(mixture, RATE, ["rain"])
    paths = result.save(tmp_path, "street", format="flac", bit_depth=16)
    assert [path.name for path in paths] == ["street.rain.flac", "street.residual.flac"]
    saved = sum(read_audio(path)[0] for path in paths)
    np.testing.assert_allclose(saved, mixture, atol=1e-4)
    with pytest.raises(UsageError, match="loudness"):
        result.save(tmp_path, loudness=3)
    for stem in ("take.1", "take.2"):
        assert result.save(tmp_path, stem)[0] == tmp_path / f"{stem}.rain.wav"
    with pytest.raises(UsageError, match="its folder"):
        result.save(tmp_path, "takes/1")


@pytest.mark.parametrize("option", [("--remove", "rain"), ("--gain", "rain=-60")])
def test_one_file_without_a_sound(recording, model, tmp_path, option):
    assert run("separate", recording, *option, "-o", tmp_path, "--model", model) == 0
    name = "without-rain" if option[0] == "--remove" else "mix"
    mixture, rate = read_audio(recording)
    rest = Separator.from_pretrained(model).separate(mixture, rate, ["rain"]).residual
    np.testing.assert_allclose(read_audio(tmp_path / f"street.{name}.wav")[0], rest, atol=2e-3)


@pytest.mark.parametrize(
    "options",
    [
        ("-q", "rain", "--remove", "wind"),
        ("--gain", "rain"),
        ("--gain", "=3"),
        ("--gain", "rain=loud"),
        ("-q", "rain", "--not", "rain"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(recording, model, tmp_path, options):
    assert run("separate", recording, *options, "-o", tmp_path / "out", "--model", model) == 2
    assert not (tmp_path / "out").exists()
