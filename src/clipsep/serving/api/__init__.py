"""The HTTP API, version 1: routes only; what they start is in work/."""

from __future__ import annotations

from fastapi import FastAPI

from clipsep import Separator
from clipsep.serving.api.results import results_router
from clipsep.serving.api.separation import separation_router
from clipsep.serving.api.server_info import info_router
from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import JobQueue


def add_routes(app: FastAPI, separator: Separator, queue: JobQueue, limits: Limits) -> None:
    """Add the API to an application."""
    app.include_router(info_router(separator, queue, limits))
    app.include_router(separation_router(separator, queue, limits))
    app.include_router(results_router(queue))
