"""The HTTP API, version 1: routes only; what they start is in work/."""

from __future__ import annotations

from fastapi import FastAPI

from clipsep import Separator
from clipsep.serving.api.familiarity import familiarity_router
from clipsep.serving.api.intake import Intake
from clipsep.serving.api.jobs import jobs_router
from clipsep.serving.api.rendering import Renderer
from clipsep.serving.api.results import results_router
from clipsep.serving.api.separation import finding_router, separation_router
from clipsep.serving.api.server_info import info_router
from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import JobQueue


def add_routes(app: FastAPI, separator: Separator, queue: JobQueue, limits: Limits) -> None:
    """Add the API to an application."""
    app.include_router(info_router(separator, queue, limits))
    app.include_router(familiarity_router(separator, limits))
    render = Renderer()
    intake = Intake(separator, queue, limits)
    app.include_router(separation_router(intake, render))
    app.include_router(finding_router(intake))
    app.include_router(jobs_router(intake))
    app.include_router(results_router(queue, render))
