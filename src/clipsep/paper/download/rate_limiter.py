"""Space the requests of many workers to one server, and back off when it refuses them."""

from __future__ import annotations

import threading
import time

from clipsep.errors import ClipsepError


class Cancelled(Exception):
    """The work was called off while a worker waited."""


class RateLimiter:
    """Tells every worker when it may ask next; safe to share.

    A failure holds all workers back, twice as long with every further one in a row: a server that
    refuses one request would refuse the next.
    """

    def __init__(self, pause: float, patience: int, cancelled: threading.Event):
        """``pause``: seconds between two requests; ``patience``: failures in a row before giving up."""
        self._pause = pause
        self._patience = patience
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._next = 0.0  # when the next request may go out
        self._held_since = 0.0
        self._failures = 0

    def wait(self) -> float:
        """Wait until the next request may go out; returns that time. Raises Cancelled."""
        while not self._cancelled.is_set():
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._pause
                    return now
                delay = self._next - now
            self._cancelled.wait(delay)
        raise Cancelled

    def succeeded(self) -> None:
        """Note that the server has answered: it does not refuse us."""
        with self._lock:
            self._failures = 0

    def failed(self, sent_at: float, reason: str, first_wait: float) -> None:
        """Note that the request that went out at ``sent_at`` failed: hold everyone back.

        Raises:
            ClipsepError: if there were too many failures in a row.
        """
        with self._lock:
            if sent_at <= self._held_since:
                return  # it went out before the last hold: the same refusal, met by many
            self._failures += 1
            if self._failures > self._patience:
                raise ClipsepError(
                    f"Downloading stopped ({reason}): what is finished is kept, run the same command "
                    "again later to continue."
                )
            self._held_since = time.monotonic()
            self._next = self._held_since + first_wait * 2 ** (self._failures - 1)
