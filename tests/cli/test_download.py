"""`clipsep paper ...` as a user meets it, with a yt-dlp that has no network."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from clipsep.cli import main
from clipsep.datasets.reader import PreparedDataset
from clipsep.paper.download import youtube
from tests.helpers.audio import tones, write
from tests.helpers.fake_yt_dlp import FakeYtDlp

IDS = [f"{number:011d}" for number in range(12)]
QUICK = ["--pause", "0", "--workers", "2", "--retries", "1"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeYtDlp:
    monkeypatch.setattr(youtube, "REFUSED_WAIT", 0.001)
    monkeypatch.setattr(youtube, "FAILED_WAIT", 0.001)
    fake = FakeYtDlp.install(monkeypatch, tmp_path)
    fake.seconds = 6.0
    return fake


@pytest.fixture
def music(tmp_path: Path) -> Path:
    path = tmp_path / "MUSIC_solo_videos.json"
    path.write_text(json.dumps({"videos": {"tuba": IDS[:6], "acoustic_guitar": IDS[6:]}}))
    return path


def run(*argv: object) -> int:
    return main([str(argument) for argument in argv])


def test_downloaded_videos_become_a_labelled_data_set(fake, music, tmp_path, capsys):
    """The road of the documentation, from the index to what training reads."""
    fake.fail(f"ERROR: [youtube] {IDS[0]}: Video unavailable", video=IDS[0])
    assert run("paper", "download", "music", music, "-o", "videos", *QUICK) == 0
    out = capsys.readouterr().out
    assert "videos: 11 of 12 in videos (11 of them now), 1 missing (see videos/missing.csv)." in out
    assert run("paper", "download", "music", music, "-o", "videos", *QUICK) == 0
    assert "(0 of them now), 1 missing" in capsys.readouterr().out
    assert len(fake.urls) == 12

    labels = "videos/train/labels.csv"
    assert run("prepare", "videos/train", "-o", "train", "--labels", labels, "--workers", 1) == 0
    dataset = PreparedDataset(tmp_path / "train")
    assert dataset.labels == ["acoustic_guitar", "tuba"]
    assert all(clip.label == clip.id.split("/")[0] for clip in dataset.clips)


def test_vggsound_is_cut_and_sided_by_the_published_lists(fake, tmp_path, capsys):
    Path("vggsound.csv").write_text('abcdefghijk,30,"bee, wasp, etc. buzzing",train\n' * 2)
    Path("test.csv").write_text("audio/abcdefghijk.wav,frames/abcdefghijk,12,bee\n")
    fake.seconds = 10.0
    command = [
        "paper",
        "download",
        "vggsound",
        "vggsound.csv",
        "-o",
        "videos",
        "--test",
        "test.csv",
        *QUICK,
    ]
    assert run(*command) == 0
    assert Path("videos/test/bee_wasp_etc_buzzing/abcdefghijk_000030.mp4").is_file()
    with open("videos/test/labels.csv", newline="") as file:
        assert list(csv.reader(file))[1][1] == "bee wasp etc. buzzing"
    sections = fake.options[0]["download_ranges"]({}, None)
    assert list(sections) == [{"start_time": 30, "end_time": 40}]


def test_a_part_can_be_asked_for(fake, music, capsys):
    assert (
        run("paper", "download", "music", music, "-o", "a", "--only", "tuba", "--limit", 2, *QUICK)
        == 0
    )
    assert "videos: 2 of 2" in capsys.readouterr().out
    assert run("paper", "download", "music", music, "-o", "b", "--split", "val", *QUICK) == 0
    assert [path.name for path in Path("b").iterdir()] == ["val"]


def test_what_fails_for_now_is_named_and_fails_the_command(fake, music, capsys):
    fake.fail(f"ERROR: [youtube] {IDS[1]}: Unable to download webpage: timed out", video=IDS[1])
    assert run("paper", "download", "music", music, "-o", "videos", *QUICK, "--workers", 1) == 1
    out, err = capsys.readouterr()
    assert f"failed {IDS[1]}: Unable to download webpage: timed out" in out
    assert "videos: 11 of 12 in videos (11 of them now), 0 missing.\n" in out
    assert "1 of 12 videos failed this time" in err and err.count("\n") == 1


def test_a_server_that_refuses_ends_the_command_with_one_sentence(fake, music, capsys):
    fake.fail("ERROR: [youtube] x: Sign in to confirm you’re not a bot.\nsee https://...")
    assert run("paper", "download", "music", music, "-o", "videos", *QUICK) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "not a bot" in err and "run the same command again later" in err
    assert not Path("videos/missing.csv").exists()


def test_an_interrupt_says_how_to_go_on(fake, music, capsys, monkeypatch):
    def interrupted(*_: object) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "download", interrupted)
    assert run("paper", "download", "music", music, "-o", "videos", *QUICK) == 130
    assert "run the same command again to continue" in capsys.readouterr().err


def test_wrong_requests_leave_no_trace(fake, music, refused):
    refused(2, "paper", "download", "music", "gone.json", "-o", "videos", names="gone.json")
    refused(
        2,
        "paper",
        "download",
        "music",
        music,
        "-o",
        "videos",
        "--only",
        "dog",
        names="no label 'dog'",
    )
    refused(2, "paper", "download", "music", music, "-o", "videos", "--split", "all", names="'all'")
    refused(2, "paper", "download", "music", music, "-o", "v", "--test", "no.csv", names="no.csv")
    refused(2, "paper", "download", "vggsound", music, "-o", "videos", names="line 1")
    refused(2, "paper", "download", names="Missing command")
    refused(2, "paper", "import-list", "no.csv", "-o", "set", names="no.csv")
    refused(2, "paper", "mixtures", "no.csv", "no.csv", "-o", "mixtures.csv", names="no.csv")
    Path("list.csv").write_text("y.wav,y,6,flute\n")
    refused(
        1,
        "paper",
        "mixtures",
        "list.csv",
        "list.csv",
        "-o",
        "mixtures.csv",
        names="'y.wav' is missing",
    )


def test_a_missing_package_is_named(music, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    refused(
        1, "paper", "download", "music", music, "-o", "v", names="pip install 'clipsep[download]'"
    )


def test_a_published_list_becomes_a_data_set_and_pairs(tmp_path, capsys):
    write(tmp_path / "x.wav", tones(16_000, 1, 6.0), 16_000)
    (tmp_path / "x").mkdir()
    for number in range(1, 7):
        Image.new("RGB", (224, 224)).save(tmp_path / f"x/{number:06d}.jpg")
    Path("list.csv").write_text("x.wav,x,6,tuba\ny.wav,y,6,flute\n")
    assert run("paper", "import-list", "list.csv", "-o", "set", "--workers", 1) == 0
    out = capsys.readouterr().out
    assert "rejected y.wav: 'y.wav' does not exist: check --root." in out
    assert "clips: 1 stored in set (1 of them now), 1 rejected." in out
    assert next(iter(PreparedDataset("set").clips)).label == "tuba"
    Path("others.csv").write_text("x.wav,x,6,tuba\n")
    assert run("paper", "mixtures", "list.csv", "others.csv", "-o", "lists/mixtures.csv") == 0
    out = capsys.readouterr().out
    assert "1 of 2 mixtures in lists/mixtures.csv." in out
    assert "Left out because files are missing: 1 mixture, the first: y.wav" in out
