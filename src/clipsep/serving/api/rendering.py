"""Makes files in threads of their own, so that requests for files never take those of all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

_THREADS = 2
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Renderer:
    """Calls functions that take long; further calls wait without a thread."""

    @cached_property
    def _limiter(self) -> CapacityLimiter:
        return CapacityLimiter(_THREADS)  # late: older versions of anyio need an event loop for it

    async def __call__(
        self,
        make: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """Return what ``make`` returns, or raise what it raises."""
        return await to_thread.run_sync(lambda: make(*args, **kwargs), limiter=self._limiter)
