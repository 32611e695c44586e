"""Routes of the queue: put a recording in it, ask what became of it, stop it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from clipsep.serving.api.answers import (
    UPLOAD_ERRORS,
    JobId,
    JobStatus,
    find_job,
    problems,
    status_of,
)
from clipsep.serving.api.intake import (
    Binary,
    Images,
    Intake,
    Recording,
    Sensitivity,
    Texts,
    known_fields_only,
)
from clipsep.serving.work.parts import finding_work, separation_work

Find = Annotated[
    bool,
    Form(
        description="Only say when the sounds are heard; without queries, which known sounds are."
    ),
]


def jobs_router(intake: Intake) -> APIRouter:
    """Add the routes for uploads that do not wait for their result."""
    router = APIRouter(tags=["separation"])

    @router.post(
        "/v1/jobs",
        status_code=202,
        responses=problems(*UPLOAD_ERRORS[:-1]),
        dependencies=[Depends(known_fields_only)],
    )
    async def start_job(
        request: Request,
        file: Recording,
        query: Texts = [],  # noqa: B006
        image: Images = [],  # noqa: B006
        binary: Binary = False,
        sensitivity: Sensitivity = 0.5,
        find: Find = False,
    ) -> JobStatus:
        """Put a recording in the queue; GET /v1/jobs/ID says what became of it."""
        wanted = intake.wanted_of(file, query, image, binary, sensitivity, may_be_none=find)
        make_work = finding_work if find else separation_work
        job = await intake.submit(request, file, image, wanted, make_work)
        if await request.is_disconnected():  # nobody will learn its id
            intake.queue.cancel(job)
        return status_of(job, intake.queue)

    @router.get("/v1/jobs/{job_id}", responses=problems(400, 401, 404, 422))
    def job_status(job_id: JobId) -> JobStatus:
        """State, place in the queue, progress and, at the end, the parts or what was found."""
        return status_of(find_job(intake.queue, job_id), intake.queue)

    @router.delete(
        "/v1/jobs/{job_id}", status_code=204, responses=problems(400, 401, 403, 404, 422)
    )
    def delete_job(job_id: JobId) -> Response:
        """Stop a job if it runs, and remove its files."""
        intake.queue.cancel(find_job(intake.queue, job_id))
        return Response(status_code=204)

    return router
