"""Laws of pacing, on a clock of their own: requests are spaced, a refusal holds everyone back."""

from __future__ import annotations

import pytest

from clipsep.errors import ClipsepError
from clipsep.paper.download import rate_limiter as pacing
from clipsep.paper.download.rate_limiter import Cancelled, RateLimiter


class FakeTime:
    """A clock that only moves when somebody waits for the event of this name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        self._set = False
        monkeypatch.setattr(pacing.time, "monotonic", lambda: self.now)

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, seconds: float) -> bool:
        assert seconds > 0
        self.now += seconds
        return self._set


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


def test_requests_are_spaced_out(clock: FakeTime):
    rate_limiter = RateLimiter(5.0, 3, clock)
    assert [rate_limiter.wait() for _ in range(3)] == [1000.0, 1005.0, 1010.0]
    clock.now += 60
    assert rate_limiter.wait() == 1070.0  # a pause that has passed is not made up for


def test_a_refusal_holds_everyone_back_twice_as_long_each_time(clock: FakeTime):
    rate_limiter = RateLimiter(0.0, 3, clock)
    turns = []
    for _ in range(3):
        turns.append(rate_limiter.wait())
        clock.now += 1
        rate_limiter.failed(turns[-1], "429", 60.0)
    turns.append(rate_limiter.wait())
    assert turns == [1000.0, 1061.0, 1182.0, 1423.0]  # 60, 120 and 240 s after each failure


def test_one_refusal_that_many_workers_meet_counts_once(clock: FakeTime):
    rate_limiter = RateLimiter(0.0, 1, clock)
    turns = [rate_limiter.wait() for _ in range(8)]
    clock.now += 1
    for sent_at in turns:
        rate_limiter.failed(sent_at, "429", 60.0)
    assert rate_limiter.wait() == 1061.0


def test_a_success_ends_the_counting(clock: FakeTime):
    rate_limiter = RateLimiter(0.0, 2, clock)
    for _ in range(10):
        rate_limiter.failed(rate_limiter.wait(), "time-out", 1.0)
        clock.now += 1
        rate_limiter.succeeded()


def test_too_many_failures_in_a_row_end_it(clock: FakeTime):
    rate_limiter = RateLimiter(0.0, 2, clock)
    for _ in range(2):
        rate_limiter.failed(rate_limiter.wait(), "429", 60.0)
        clock.now += 1
    with pytest.raises(ClipsepError, match=r"429.*run the same command again"):
        rate_limiter.failed(rate_limiter.wait(), "429", 60.0)


def test_who_waits_hears_that_all_is_called_off(clock: FakeTime):
    rate_limiter = RateLimiter(5.0, 2, clock)
    rate_limiter.wait()
    clock.set()
    with pytest.raises(Cancelled):
        rate_limiter.wait()
