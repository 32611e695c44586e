"""Laws of the dataset: what goes in comes out, nothing finished is lost or done twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.format import read_sealed_table, write_table
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import CLIPS_PER_SHARD, DatasetWriter, stage_clip
from clipsep.errors import ClipsepError
from clipsep.files import unfinished
from tests.helpers.datasets import embed_by_label, make_dataset


def stage(
    root: Path, name: str, value: float = 0.5, fingerprint: str = "1", frames: int = 2
) -> None:
    images = [Image.new("RGB", (16, 16), (200, 30 * i, 0)) for i in range(frames)]
    stage_clip(root, name, fingerprint, None, np.full(1600, value), images)


def test_sound_and_frames_come_back(tmp_path: Path):
    DatasetWriter(tmp_path)
    sound = np.linspace(-1.2, 1, 1600)
    stage_clip(tmp_path, "a.mp4", "1", "dog", sound, [Image.new("RGB", (16, 16), (250, 0, 0))])
    DatasetWriter(tmp_path).close()
    dataset = PreparedDataset(tmp_path)
    (clip,) = dataset.clips
    assert (clip.id, clip.label, clip.seconds, clip.n_frames) == ("a.mp4", "dog", 0.1, 1)
    expected = np.clip(sound, -1, 1)
    assert np.abs(dataset.audio(clip) / 32767 - expected).max() < 1 / 32767
    red, green, _ = dataset.frames(clip)[0].getpixel((8, 8))
    assert red > 240 and green < 10


def test_a_kill_between_clips_loses_none_of_them(tmp_path: Path):
    """A new writer takes over staged clips and drops half-written files."""
    DatasetWriter(tmp_path)
    stage(tmp_path, "a.mp4")
    half = [tmp_path / name for name in ("staging/a.arrow", "shards/b.arrow", "index.arrow")]
    for path in half:
        unfinished(path).write_bytes(b"half of it")
    writer = DatasetWriter(tmp_path)
    assert writer.finished("a.mp4", "1")
    assert not writer.finished("a.mp4", "2"), "a changed video must be prepared again"
    writer.close()
    assert [clip.id for clip in PreparedDataset(tmp_path).clips] == ["a.mp4"]
    assert not list((tmp_path / "staging").iterdir())
    assert not list(tmp_path.rglob("*.part"))


def test_a_kill_while_a_shard_is_cleared_away_does_not_double_clips(tmp_path: Path):
    DatasetWriter(tmp_path)
    stage(tmp_path, "a.mp4")
    staged = next((tmp_path / "staging").iterdir())
    copy = staged.read_bytes()
    DatasetWriter(tmp_path).close()
    staged.write_bytes(copy)  # as if the kill came before the staged file was removed
    DatasetWriter(tmp_path).close()
    assert len(PreparedDataset(tmp_path)) == 1


def test_order_does_not_depend_on_interruptions(tmp_path: Path):
    names = [f"{i}.mp4" for i in range(4)]
    for root, groups in ((tmp_path / "one", [names]), (tmp_path / "two", [names[2:], names[:2]])):
        for group in groups:
            DatasetWriter(root)
            for name in group:
                stage(root, name)
            DatasetWriter(root).close()
    one, two = PreparedDataset(tmp_path / "one"), PreparedDataset(tmp_path / "two")
    assert [c.id for c in one.clips] == [c.id for c in two.clips] == names
    assert len(two.shards) == 2


def test_a_changed_video_replaces_its_old_version(tmp_path: Path):
    for fingerprint, value in (("1", 0.25), ("2", 0.75)):
        DatasetWriter(tmp_path)
        stage(tmp_path, "a.mp4", value, fingerprint)
        DatasetWriter(tmp_path).close()
    dataset = PreparedDataset(tmp_path)
    assert len(dataset) == 1
    assert dataset.audio(dataset.clips[0])[0] == round(0.75 * 32767)


def test_a_changed_video_that_is_rejected_does_not_bring_its_old_version_back(tmp_path: Path):
    DatasetWriter(tmp_path)
    stage(tmp_path, "a.mp4", fingerprint="1")
    stage(tmp_path, "b.mp4")
    writer = DatasetWriter(tmp_path)  # after a kill
    writer.expect(["a.mp4"])
    writer.reject("a.mp4", "2", "silent")
    writer.close()
    DatasetWriter(tmp_path).close()
    assert [clip.id for clip in PreparedDataset(tmp_path).clips] == ["b.mp4"]


def test_a_stored_video_whose_new_version_is_rejected_goes_until_a_version_is_stored(
    tmp_path: Path,
):
    def ids() -> list[str]:
        return [clip.id for clip in PreparedDataset(tmp_path).clips]

    fill(tmp_path, ["a.mp4", "b.mp4"], set(), ["a.mp4", "b.mp4"]).close()
    writer = DatasetWriter(tmp_path)
    assert not writer.finished("a.mp4", "2")
    writer.expect(["a.mp4"])
    writer.reject("a.mp4", "2", "silent")
    assert (writer.close(), ids()) == (0, ["b.mp4"])
    (tmp_path / "index.arrow").unlink()  # the shard still has it
    writer = DatasetWriter(tmp_path)
    assert writer.finished("a.mp4", "2") and not writer.finished("a.mp4", "1")
    assert (writer.close(), ids()) == (0, ["b.mp4"])
    writer = DatasetWriter(tmp_path)
    writer.expect(["a.mp4"])
    stage(tmp_path, "a.mp4", fingerprint="3")
    DatasetWriter(tmp_path).close()  # after a kill
    assert ids() == ["a.mp4", "b.mp4"]
    assert not (tmp_path / "rejected.csv").exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_no_file_is_removed_or_replaced_while_it_is_mapped(tmp_path: Path, monkeypatch):
    """Windows refuses it."""
    went: list[Path] = []

    def check(path: Path) -> None:
        went.append(path)
        assert str(path) not in Path("/proc/self/maps").read_text()

    unlink, replace = Path.unlink, os.replace
    monkeypatch.setattr(Path, "unlink", lambda path, **kw: (check(path), unlink(path, **kw)))
    monkeypatch.setattr(os, "replace", lambda path, to: (check(to), replace(path, to)))
    DatasetWriter(tmp_path)
    for fingerprint in "12":
        stage(tmp_path, "a.mp4", fingerprint=fingerprint)
        staged = next((tmp_path / "staging").iterdir())
        copy = staged.read_bytes()
        DatasetWriter(tmp_path).close()
        staged.write_bytes(copy)  # as if the kill came before the staged file was removed
        DatasetWriter(tmp_path).close()
    assert {tmp_path / "index.arrow", staged} <= set(went)


def fill(root: Path, names: list[str], useless: set[str], order: list[str]) -> DatasetWriter:
    """A writer that expects the clips of some names, and gets them in another order."""
    writer = DatasetWriter(root)
    expected = [name for name in names if not writer.finished(name, "1")]
    writer.expect(expected)
    for name in order:
        if name in expected:
            if name in useless:
                writer.reject(name, "1", "silent")
            else:
                stage(root, name, frames=1)
                writer.add(name, "1")
    return writer


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_files_do_not_depend_on_the_order_of_completion_nor_on_interruptions(tmp_path: Path):
    names = [f"{number:03d}.mp4" for number in range(2 * CLIPS_PER_SHARD + 9)]
    useless = {"001.mp4", "050.mp4", "100.mp4"}
    shuffled = list(np.random.default_rng(0).permutation(names))
    fill(tmp_path / "in order", names, useless, names).close()
    fill(tmp_path / "shuffled", names, useless, shuffled).close()
    for end in (5, 90, 91):
        fill(tmp_path / "interrupted", names, useless, shuffled[:end])
    fill(tmp_path / "interrupted", names, useless, shuffled[::-1]).close()
    assert len(PreparedDataset(tmp_path / "in order")) == len(names) - len(useless)
    expected = files(tmp_path / "in order")
    assert len(expected) == 3 + 2  # shards, index and rejected.csv
    assert files(tmp_path / "shuffled") == expected
    assert files(tmp_path / "interrupted") == expected


def test_full_groups_become_shards_on_the_way(tmp_path: Path):
    names = [f"{number:03d}.mp4" for number in range(CLIPS_PER_SHARD + 2)]
    writer = fill(tmp_path, names, set(), names[1:])
    assert not list((tmp_path / "shards").iterdir()), "the first clip is not known yet"
    writer.reject(names[0], "1", "silent")
    assert len(list((tmp_path / "shards").iterdir())) == 1
    assert len(list((tmp_path / "staging").iterdir())) == 1


def test_an_index_that_lacks_shards_is_completed(tmp_path: Path):
    make_dataset(tmp_path, clips=2)
    older = (tmp_path / "index.arrow").read_bytes()
    stage(tmp_path, "new.mp4")
    DatasetWriter(tmp_path).close()
    complete = (tmp_path / "index.arrow").read_bytes()
    for found in (older, None):
        (tmp_path / "index.arrow").unlink()
        if found:
            (tmp_path / "index.arrow").write_bytes(found)
        writer = DatasetWriter(tmp_path)
        assert writer.finished("new.mp4", "1")
        writer.close()
        assert (tmp_path / "index.arrow").read_bytes() == complete


def test_videos_of_a_lost_shard_are_prepared_again(tmp_path: Path):
    dataset = make_dataset(tmp_path, clips=1)
    stage(tmp_path, "new.mp4")
    DatasetWriter(tmp_path).close()
    (tmp_path / "shards" / f"{dataset.shards[0]}.arrow").unlink()
    writer = DatasetWriter(tmp_path)
    assert not writer.finished("hum-0.mp4", "v0") and writer.finished("new.mp4", "1")
    writer.close()
    assert [clip.id for clip in PreparedDataset(tmp_path).clips] == ["new.mp4"]


def test_an_index_of_another_version_of_a_shard_is_corrected(tmp_path: Path):
    """A shard's name does not change with its labels, but its size may."""
    for root, label in ((tmp_path / "one", "dog"), (tmp_path / "two", "a much longer label" * 9)):
        DatasetWriter(root)
        stage_clip(root, "a.mp4", "1", label, np.ones(1600), [Image.new("RGB", (16, 16))])
        DatasetWriter(root).close()
    (name,) = PreparedDataset(tmp_path / "one").shards
    shard = f"shards/{name}.arrow"
    (tmp_path / "one" / shard).write_bytes((tmp_path / "two" / shard).read_bytes())
    with pytest.raises(ClipsepError, match="damaged"):
        PreparedDataset(tmp_path / "one")
    DatasetWriter(tmp_path / "one").close()
    assert [clip.label for clip in PreparedDataset(tmp_path / "one").clips] == ["dog"]


def test_labels_reach_stored_staged_and_new_clips(tmp_path: Path):
    DatasetWriter(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        stage(tmp_path, name)
    DatasetWriter(tmp_path, {"b.mp4": "cat"}).close()
    stage(tmp_path, "c.mp4")
    DatasetWriter(tmp_path, {"a.mp4": "dog", "b.mp4": "", "c.mp4": "cow"}).close()
    assert [clip.label for clip in PreparedDataset(tmp_path).clips] == ["dog", None, "cow"]
    (tmp_path / "index.arrow").unlink()
    DatasetWriter(tmp_path).close()
    labels = [clip.label for clip in PreparedDataset(tmp_path).clips]
    assert labels == [None, "cat", "cow"], "those known when the shards were written"


def test_a_line_of_a_rejection_that_was_cut_off_does_no_harm(tmp_path: Path):
    writer = fill(tmp_path, ["a.mp4", "b.mp4"], {"a.mp4"}, ["a.mp4"])
    with open(tmp_path / "rejected.csv", "a") as file:
        file.write("b.mp4,1")
    writer = fill(tmp_path, ["a.mp4", "b.mp4"], {"b.mp4"}, ["b.mp4"])
    assert set(writer.rejected) == {"a.mp4", "b.mp4"}
    assert set(DatasetWriter(tmp_path).rejected) == {"a.mp4", "b.mp4"}


def test_the_list_of_rejections_names_its_columns(tmp_path: Path):
    """From the first line on, whatever becomes of the run."""
    listed = ["id,fingerprint,reason", "b.mp4,1,silent", "a.mp4,1,silent"]
    names = ["a.mp4", "b.mp4"]
    writer = fill(tmp_path, names, set(names), names[::-1])
    file = tmp_path / "rejected.csv"
    assert file.read_text().splitlines() == listed
    writer.close()
    assert file.read_text().splitlines() == [listed[0], *sorted(listed[1:])]
    for left in (listed, ["id,finger"]):
        file.write_text("\n".join(left))
        writer = DatasetWriter(tmp_path)
        assert dict(writer.rejected) == (
            {} if len(left) == 1 else dict.fromkeys(names, ("1", "silent"))
        )
        assert writer.finished("a.mp4", "1") is (len(left) > 1)
        assert not file.exists() or file.read_text().splitlines()[0] == listed[0]
    file.write_text("\n".join(listed[1:]))
    with pytest.raises(ClipsepError, match="its first line is not 'id,fingerprint,reason'"):
        DatasetWriter(tmp_path)


def test_embeddings_are_those_of_the_clip(tmp_path: Path):
    dataset = make_dataset(tmp_path, clips=5)
    embeddings = StoredEmbeddings(dataset, "tiny")
    for clip in dataset.clips:
        table = embeddings.clip(clip)
        assert len(table) == clip.n_frames
        assert (table.argmax(axis=1) == ["hum", "hiss"].index(clip.label)).all()


def test_embeddings_of_another_encoder_or_of_other_frames_are_not_used(tmp_path: Path):
    dataset = make_dataset(tmp_path, clips=2)
    StoredEmbeddings(dataset, "tiny").require_complete()
    with pytest.raises(ClipsepError, match=r"other.*clipsep embed"):
        StoredEmbeddings(dataset, "other").require_complete()
    stage(tmp_path, "new.mp4")
    DatasetWriter(tmp_path).close()
    with pytest.raises(ClipsepError, match="1 of 2 shards"):
        StoredEmbeddings(PreparedDataset(tmp_path), "tiny").require_complete()


def test_a_changed_byte_in_the_header_of_embeddings_does_no_harm_or_is_named(tmp_path: Path):
    dataset = make_dataset(tmp_path, clips=2)
    path = tmp_path / StoredEmbeddings(dataset, "tiny").file(dataset.shards[0])
    whole = path.read_bytes()
    expected = StoredEmbeddings(dataset, "tiny").clip(dataset.clips[0])
    named = 0
    for place in range(128):
        for change in (1, 255):
            changed = bytearray(whole)
            changed[place] ^= change
            path.write_bytes(changed)
            try:
                assert (StoredEmbeddings(dataset, "tiny").clip(dataset.clips[0]) == expected).all()
            except ClipsepError as error:
                named += 1
                assert f"{path}' is damaged" in str(error)
    assert named > 60


def test_damage_is_one_sentence(tmp_path: Path):
    with pytest.raises(ClipsepError, match="is not a data set"):
        PreparedDataset(tmp_path)
    dataset = make_dataset(tmp_path, clips=2)
    shard = tmp_path / "shards" / f"{dataset.shards[0]}.arrow"
    embeddings = embed_by_label(dataset, "tiny")
    np.save(tmp_path / embeddings.file(dataset.shards[0]), np.zeros((3, 4), np.float32))
    with pytest.raises(ClipsepError, match="3 embeddings for 16 frames"):
        StoredEmbeddings(PreparedDataset(tmp_path), "tiny").clip(dataset.clips[0])
    whole = shard.read_bytes()
    shard.unlink()
    with pytest.raises(ClipsepError, match="lacks the shard"):
        PreparedDataset(tmp_path)
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClipsepError, match=r"damaged .*bytes instead of.*delete it"):
        PreparedDataset(tmp_path)
    index = tmp_path / "index.arrow"
    write_table(
        read_sealed_table(index).replace_schema_metadata(None), index
    )  # as older versions wrote it
    with pytest.raises(ClipsepError, match=r"damaged .*delete it"):
        PreparedDataset(tmp_path)
