"""Laws of the order of clips: every clip once per epoch, in an order that only seed and epoch decide."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from clipsep.training.data.clip_order import ClipOrder

# 11 shards of very different sizes, as clips in order of their ids lie in them
SHARDS = np.random.default_rng(1).permutation(np.repeat(np.arange(11), np.arange(1, 12)))


def visits(order: ClipOrder, start: int, end: int) -> list[int]:
    return [order.locate(index)[1] for index in range(start, end)]


def test_the_order_without_windows_is_that_of_all_earlier_runs():
    """Runs that began with an older version go on with the mixtures they would have seen."""
    order = ClipOrder(np.repeat(np.arange(3), 4), seed=7)
    assert visits(order, 0, 12) == [4, 6, 10, 0, 1, 3, 8, 7, 2, 5, 9, 11]
    assert visits(order, 12, 24) == [7, 10, 6, 11, 0, 8, 9, 1, 3, 4, 2, 5]
    window, _ = order.locate(13)
    assert list(window.clips) == list(range(12)), "partners are drawn by number from all clips"


def test_the_order_with_windows_stays_as_it_is():
    order = ClipOrder(np.repeat(np.arange(5), 3), seed=7, window=2)
    assert visits(order, 0, 15) == [2, 3, 4, 1, 0, 5, 10, 8, 9, 6, 7, 11, 14, 13, 12]
    assert visits(order, 15, 30) == [4, 7, 6, 3, 8, 5, 2, 1, 0, 10, 11, 9, 14, 13, 12]


@pytest.mark.parametrize("window", [1, 2, 3, 10, 11, 50, None])
def test_every_clip_comes_once_per_epoch(window: int | None):
    order = ClipOrder(SHARDS, 3, window)
    n = len(SHARDS)
    epochs = [visits(order, epoch * n, (epoch + 1) * n) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(n))
    assert epochs[0] != epochs[1] != epochs[2]
    assert visits(ClipOrder(SHARDS, 4, window), 0, n) != epochs[0]


def test_a_window_needs_no_other_shards_and_has_no_more_than_its_number():
    order = ClipOrder(SHARDS, 3, window=4)
    numbers = []
    for index in range(2 * len(SHARDS)):
        window, clip = order.locate(index)
        assert clip in window.clips and len(window.shards) <= 4
        assert {int(SHARDS[i]) for i in window.clips} == {int(i) for i in window.shards}
        assert np.isin(SHARDS, window.shards).sum() == len(window.clips), "its shards' clips, all"
        assert len(window.clips) >= order.fewest_clips
        numbers.append(window.number)
    assert numbers == sorted(numbers) and set(numbers) == set(range(6))


def test_an_item_does_not_depend_on_what_was_asked_before():
    one, two = ClipOrder(SHARDS, 3, 4), ClipOrder(SHARDS, 3, 4)
    forwards = visits(one, 0, 200)
    backwards = [two.locate(index)[1] for index in reversed(range(200))]
    assert forwards == backwards[::-1]
    assert visits(pickle.loads(pickle.dumps(one)), 0, 200) == forwards


def test_one_window_for_all_shards_is_none():
    assert visits(ClipOrder(SHARDS, 3, 11), 0, 100) == visits(ClipOrder(SHARDS, 3), 0, 100)
