"""What can be chosen of an output file: bit depth, bit rate; and what is kept: tags, chapters, frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clipsep import ClipsepError, UsageError
from clipsep.media import (
    AudioReader,
    AudioWriter,
    Tags,
    output_format,
    probe,
    read_audio,
    read_tags,
)
from clipsep.media.writing.video import VideoSink
from tests.helpers.audio import write_video

RATE = 48_000


def noise(seconds: float = 1.0, channels: int = 2) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal((channels, round(seconds * RATE)))
    return (0.1 * samples).astype(np.float32)


def written(path: Path, audio: np.ndarray, **options) -> Path:
    with AudioWriter(path, RATE, len(audio), format=path.suffix[1:], **options) as writer:
        writer.write(audio)
    return path


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize("bits", [16, 24])
def test_bit_depth_bounds_the_error_and_sets_the_size(tmp_path, kind, bits):
    audio = noise()
    path = written(tmp_path / f"sound.{kind}", audio, bit_depth=bits)
    back, _ = read_audio(path)
    assert np.abs(back - audio).max() <= 0.51 / 2 ** (bits - 1)
    if kind == "wav":
        assert path.stat().st_size == pytest.approx(audio.size * bits / 8, abs=200)


def test_16_bits_count_what_they_cannot_hold(tmp_path):
    with AudioWriter(tmp_path / "loud.wav", RATE, 1, bit_depth=16) as writer:
        writer.write(np.array([[0.5, 2.0, -3.0]], np.float32))
    assert writer.clipped == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp3", "opus", "m4a"])
def test_bit_rate_sets_the_size(tmp_path, kind):
    low, high = (
        written(tmp_path / f"{rate}.{kind}", noise(5.0), bit_rate=rate).stat().st_size * 8 / 5000
        for rate in (64, 192)
    )
    assert low == pytest.approx(64, rel=0.25)
    assert high == pytest.approx(192, rel=0.25)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"name": "mp3", "bit_depth": 16}, "no bit depth"),
        ({"name": "flac", "bit_depth": 32}, "16 or 24"),
        ({"name": "wav", "bit_rate": 128}, "no bit rate"),
        ({"name": "mp3", "bit_rate": 999}, "32 to 320"),
    ],
)
def test_a_choice_that_a_format_does_not_have_is_refused(choice, says):
    with pytest.raises(UsageError, match=says):
        output_format(**choice)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_tags_are_kept(tmp_path, kind):
    tags = Tags({"title": "Street, mörning", "artist": "Nobody", "track": "3"})
    assert read_tags(written(tmp_path / f"sound.{kind}", noise(), tags=tags)).values == tags.values


def test_chapters_are_kept(tmp_path):
    chapters = tuple(
        {
            "id": number,
            "start": number * 1000,
            "end": (number + 1) * 1000,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": f"part {number}"},
        }
        for number in range(2)
    )
    path = written(tmp_path / "book.m4a", noise(2.0), tags=Tags({}, chapters))
    found = read_tags(path).chapters
    assert [chapter["metadata"]["title"] for chapter in found] == ["part 0", "part 1"]
    assert [float(c["start"] * c["time_base"]) for c in found] == [0.0, 1.0]


def test_chapters_of_a_part_are_shifted_and_cut():
    chapters = tuple(
        {
            "id": number,
            "start": number * 3000,
            "end": (number + 1) * 3000,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": f"part {number}"},
        }
        for number in range(4)
    )
    part = Tags({"title": "book"}, chapters).of_part(4.0, 8.0)
    assert part.values == {"title": "book"}
    assert [(c["metadata"]["title"], c["start"], c["end"]) for c in part.chapters] == [
        ("part 1", 0, 2000),
        ("part 2", 2000, 4000),
    ]
    assert Tags({}, chapters).of_part(0.0, None).chapters == chapters


def test_what_the_encoder_notes_of_itself_is_not_kept(tmp_path):
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        container.metadata["title"] = "Kept"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read_tags(path).values == {"title": "Kept"}


def packets(path: Path) -> list[tuple[bytes, float]]:
    """Bytes and time of each frame of a video, as they are stored."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        return [(bytes(packet), float(packet.pts * packet.time_base)) for packet in found]


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="needs frames that are reordered")
@pytest.mark.parametrize("source", ["mkv", "mp4"])
@pytest.mark.parametrize("target", ["mkv", "mp4", "mov"])
def test_frames_that_are_stored_out_of_order_are_all_copied(tmp_path, source, target):
    film, copy = tmp_path / f"film.{source}", tmp_path / f"copy.{target}"
    write_video(film, codecs=("libx264", "aac"))
    times = [time for _, time in packets(film)]
    assert times != sorted(times)
    with AudioReader(film) as reader:
        info = reader.info
        with AudioWriter(
            copy, info.sample_rate, info.channels, format=target, video=info
        ) as writer:
            for block in reader:
                writer.write(block)
    for (before, early), (after, late) in zip(packets(film), packets(copy), strict=True):
        assert before == after
        assert late == pytest.approx(early, abs=0.001)


def test_a_video_that_cannot_be_copied_is_closed(tmp_path: Path, monkeypatch):
    def fail(*_: object):
        raise ClipsepError("damaged")
        yield

    def abort(sink: VideoSink) -> None:
        closed.extend(sink._unfinished)
        real(sink)

    closed: list = []
    real = VideoSink.abort
    film = tmp_path / "film.mp4"
    write_video(film)
    info = probe(film)
    monkeypatch.setattr("clipsep.media.writing.video.demux", fail)
    monkeypatch.setattr(VideoSink, "abort", abort)
    rate, channels = info.sample_rate, info.channels
    with pytest.raises(ClipsepError, match="damaged"):
        AudioWriter(tmp_path / "copy.mp4", rate, channels, format="mp4", video=info)
    assert len(closed) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
