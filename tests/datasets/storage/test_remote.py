"""Laws of data sets at addresses: the same mixtures as from a folder, through a cache that is smaller."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from torch.utils.data import DataLoader, Subset

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.index import INDEX_FILE
from clipsep.datasets.prepare.embed import embed
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.storage import folders
from clipsep.datasets.storage.cache import FileCache
from clipsep.errors import ClipsepError, UsageError
from clipsep.training.data import mixing
from clipsep.training.data.batches import MixtureItem
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.data.settings import MixingSettings
from tests.helpers.datasets import LABELS, make_dataset
from tests.helpers.remote import PeakSize, clear_memory, upload
from tests.training.run_tiny import train_tiny

URL = "memory://bucket/train"
N_CLIPS, N_SHARDS, WINDOW = 21, 7, 2
LENGTH = 50  # items: two epochs and some


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Seven shards of three clips."""
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder, N_CLIPS, seconds=1.0, per_shard=N_CLIPS // N_SHARDS)
    return folder


@pytest.fixture
def url(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(folders, "_PAUSES", (0,))
    yield upload(root, URL)
    clear_memory()


def mixtures(
    dataset: PreparedDataset, train: bool = True, window: int | None = WINDOW, n_sources: int = 2
) -> MixtureDataset:
    embeddings = StoredEmbeddings(dataset, "tiny")
    embeddings.require_complete()
    settings = MixingSettings(margin=0, n_sources=n_sources)
    length = LENGTH if train else N_CLIPS
    return MixtureDataset(
        dataset, embeddings, list(LABELS), settings, 4095, 7, train, length, window
    )


def room_for(root: Path, n_shards: int) -> float:
    """GB of so many shards with their embeddings, and of the index."""
    sizes = [path.stat().st_size for path in (root / "shards").iterdir()]
    sizes += [path.stat().st_size for path in (root / "embeddings").rglob("*.npy")]
    index = (root / INDEX_FILE).stat().st_size
    return (max(sizes[:N_SHARDS]) + max(sizes[N_SHARDS:])) * n_shards / 1e9 + index / 1e9


def same(one: MixtureItem, two: MixtureItem) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_mixtures_are_those_of_the_folder_through_a_smaller_cache(
    root: Path, url: str, tmp_path: Path, workers: int
):
    cache = FileCache(tmp_path, room_for(root, 2 * WINDOW))
    remote = mixtures(PreparedDataset(url, cache))
    local = mixtures(PreparedDataset(root))
    loader = DataLoader(remote, batch_size=None, num_workers=workers)
    with PeakSize(cache.folder) as watch:
        for index, item in enumerate(loader):
            assert same(item, local[index]), index
    assert index == LENGTH - 1
    assert 0 < watch.bytes <= cache.limit
    whole = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert cache.limit < 0.7 * whole, "the data set must not fit"


def test_validation_is_that_of_the_folder(root: Path, url: str, tmp_path: Path):
    remote = mixtures(PreparedDataset(url, FileCache(tmp_path)), train=False)
    local = mixtures(PreparedDataset(root), train=False)
    assert all(same(remote[i], local[i]) for i in range(N_CLIPS))


def test_a_run_goes_on_where_it_was_killed(root: Path, url: str, tmp_path: Path):
    """With an empty cache, and in the middle of a window."""
    local = mixtures(PreparedDataset(root))
    remote = mixtures(PreparedDataset(url, FileCache(tmp_path)))
    rest = range(26, LENGTH)
    loader = DataLoader(Subset(remote, list(rest)), batch_size=None)
    assert all(same(item, local[index]) for index, item in zip(rest, loader, strict=True))


class AtOnce:
    """A thread that has ended when it has started."""

    def __init__(self, target: Callable[..., None], args: tuple, daemon: bool):
        self._work = lambda: target(*args)

    def start(self) -> None:
        self._work()


def test_every_file_is_fetched_once_for_each_of_its_windows(
    root: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fetches: Counter[str] = Counter()
    original = MemoryFileSystem.get_file

    def counted(self, path: str, *args, **kwargs):
        fetches[path] += 1
        return original(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    # At once: a thread that comes too late may remove what is about to be read, which is fetched again.
    monkeypatch.setattr("clipsep.datasets.storage.folders.Thread", AtOnce)
    items = mixtures(PreparedDataset(url, FileCache(tmp_path, room_for(root, 2 * WINDOW))))
    for index in range(N_CLIPS):
        items[index]
    # One epoch, and the first window of the next, which is fetched ahead.
    names = {
        f"/bucket/train/{file}" for shard in items.dataset.shards for file in items._files(shard)
    }
    assert names <= set(fetches) <= {*names, f"/bucket/train/{INDEX_FILE}"}
    assert max(fetches.values()) <= 2
    assert sum(fetches.values()) <= 2 * (N_SHARDS + WINDOW) + 1


def test_the_next_window_is_there_before_it_is_needed(root: Path, url: str, tmp_path: Path):
    cache = FileCache(tmp_path)
    items = mixtures(PreparedDataset(url, cache))
    items[0]
    following = items._order.window(1)
    expected = {f"{items.dataset.shards[i]}.arrow" for i in following.shards}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if expected <= {path.name for path in cache.folder.rglob("*.arrow")}:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("it was not fetched ahead")


def test_the_default_is_a_window_only_where_shards_must_be_fetched(
    root: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mixing, "REMOTE_WINDOW", 3)
    remote = PreparedDataset(url, FileCache(tmp_path))
    assert mixtures(remote, window=None)._order.n_windows == 3
    assert mixtures(PreparedDataset(root), window=None)._order.n_windows == 1


def test_windows_with_too_few_clips_are_refused(root: Path):
    with pytest.raises(UsageError, match=r"too few clips.*data\.shuffle_shards"):
        mixtures(PreparedDataset(root), window=1, n_sources=4)


def test_a_cache_that_cannot_hold_two_windows_is_refused(root: Path, url: str, tmp_path: Path):
    small = FileCache(tmp_path, room_for(root, 2 * WINDOW - 1))
    expected = r"GB for training with 'memory://bucket/train' must fit in it: raise data\.cache_gb"
    with pytest.raises(UsageError, match=expected):
        mixtures(PreparedDataset(url, small))
    enough = FileCache(tmp_path, room_for(root, 2 * WINDOW))
    mixtures(PreparedDataset(url, enough))
    with pytest.raises(UsageError, match="for validation with"):
        mixtures(PreparedDataset(url, enough), train=False)


def test_damage_is_found_at_opening(root: Path, url: str, tmp_path: Path):
    files = fsspec.filesystem("memory")
    cache = FileCache(tmp_path)
    shard = PreparedDataset(url, cache).shards[2]

    def damaged(name: str, content: bytes | None) -> None:
        path = f"/bucket/train/{name}"
        whole = files.cat_file(path)
        files.rm(path)
        if content is not None:
            files.pipe_file(path, whole[: len(content)])
        try:
            mixtures(PreparedDataset(url, cache))
        finally:
            files.pipe_file(path, whole)

    expected = rf"{shard}\.arrow' is damaged \(100 bytes instead of \d+\): delete it and upload"
    with pytest.raises(ClipsepError, match=expected):
        damaged(f"shards/{shard}.arrow", bytes(100))
    with pytest.raises(ClipsepError, match=rf"lacks the shard {shard}\.arrow: upload it again"):
        damaged(f"shards/{shard}.arrow", None)
    with pytest.raises(ClipsepError, match=rf"{shard}\.npy' is damaged \(150 bytes for"):
        damaged(f"embeddings/tiny/{shard}.npy", bytes(150))
    with pytest.raises(ClipsepError, match="lacks embeddings by 'tiny' for 1 of 7"):
        damaged(f"embeddings/tiny/{shard}.npy", None)
    with pytest.raises(
        ClipsepError, match=r"was not finished \(there is no index.*check the address"
    ):
        damaged(INDEX_FILE, None)
    with pytest.raises(ClipsepError, match=r"index\.arrow' is damaged"):
        damaged(INDEX_FILE, bytes(100))
    with pytest.raises(ClipsepError, match="is not a data set"):
        PreparedDataset("memory://bucket/elsewhere", cache)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_vanishes_during_a_run_is_named(url: str, tmp_path: Path, workers: int):
    items = mixtures(PreparedDataset(url, FileCache(tmp_path)))
    fsspec.filesystem("memory").rm("/bucket/train/shards", recursive=True)
    with pytest.raises(ClipsepError, match=r"'[^\n]*shards/0000[^\n]*' is no longer there[^\n]*$"):
        list(DataLoader(items, batch_size=None, num_workers=workers))


def test_training_is_that_of_the_folder(root: Path, url: str, tmp_path: Path):
    """The settings reach the data: what is streamed is shuffled as the folder is, if it is told to."""
    data = {"val": None, "shuffle_shards": WINDOW}
    remote = {**data, "train": url, "cache": tmp_path / "cache", "cache_gb": 0.01}
    settings = {"steps": 4, "spectral": {"segment_frames": 16}}

    def trained(name: str, data: dict, workers: int = 0) -> bytes:
        folder = train_tiny(tmp_path / name, data=data, loader_workers=workers, **settings)
        return (folder / "model.safetensors").read_bytes()

    local = trained("local", {**data, "train": root})
    assert trained("remote", remote, workers=1) == local
    assert trained("unlike", {**data, "train": root, "shuffle_shards": None}) != local
    assert list((tmp_path / "cache").rglob("*.arrow"))
    with pytest.raises(UsageError, match=r"raise data\.cache_gb"):
        trained("refused", {**remote, "cache_gb": 1e-4})


class ColourEncoder:
    id, dim = "colour", 3

    def encode_images(self, images):
        return torch.tensor(np.array([np.asarray(im).mean(axis=(0, 1)) for im in images]))


def test_frames_are_embedded_where_they_lie(
    root: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clipsep.queries.load_query_encoder", lambda *_, **__: ColourEncoder())
    monkeypatch.setenv("CLIPSEP_CACHE", str(tmp_path / "cache"))
    local = Path(shutil.copytree(root, tmp_path / "local"))
    for place in (local, url):
        assert embed(place, "colour", workers=1).frames == N_CLIPS
        assert embed(place, "colour", workers=1).frames == 0, "done is done"
    one, two = (StoredEmbeddings(PreparedDataset(place), "colour") for place in (local, url))
    two.require_complete()
    for clip in one.dataset.clips:
        assert np.array_equal(one.clip(clip), two.clip(clip))
