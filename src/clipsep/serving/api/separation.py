"""Routes that take a recording and answer with the result."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import Response
from starlette.background import BackgroundTask

from clipsep.finding import FindResult
from clipsep.serving.api.answers import (
    AUDIO_CONTENT,
    BINARY_CONTENT,
    MEDIA_TYPES,
    UPLOAD_ERRORS,
    Format,
    Found,
    JobFile,
    outcome_of,
    problems,
    separation_of,
)
from clipsep.serving.api.intake import (
    Binary,
    Images,
    Intake,
    Recording,
    Sensitivity,
    Texts,
    has_finished,
    known_fields_only,
)
from clipsep.serving.api.rendering import Renderer
from clipsep.serving.work.parts import (
    Separation,
    archive_file,
    finding_work,
    part_file,
)


def separation_router(intake: Intake, render: Renderer) -> APIRouter:
    """Separate, and wait for the result."""
    router = APIRouter(tags=["separation"])

    @router.post(
        "/v1/separate",
        response_class=Response,
        responses={
            200: {"content": {**AUDIO_CONTENT, "application/zip": BINARY_CONTENT}},
            **problems(*UPLOAD_ERRORS),
        },
        dependencies=[Depends(known_fields_only)],
    )
    async def separate(
        request: Request,
        file: Recording,
        query: Texts = [],  # noqa: B006
        image: Images = [],  # noqa: B006
        format: Annotated[Format, Form(description="Format of the files.")] = "wav",
        residual: Annotated[bool, Form(description="What no query takes, too.")] = False,
        binary: Binary = False,
        sensitivity: Sensitivity = 0.5,
    ) -> Response:
        """Separate a recording and wait for the result.

        The answer is one audio file for one query, and a ZIP of audio files and report.json for
        several queries or with the residual. WAV holds any level. Other formats end at full scale: louder
        samples are limited to it, and report.json says as clipped_samples how many.
        """
        wanted = intake.wanted_of(file, query, image, binary, sensitivity)
        job = await intake.submit(request, file, image, wanted)
        try:
            if not await has_finished(job, request):
                return Response(status_code=400)  # nobody reads this answer
            response = await render(_response, separation_of(job), format, residual)
            response.background = BackgroundTask(intake.queue.cancel, job)
            return response
        except BaseException:
            intake.queue.cancel(job)
            raise
        finally:
            if not job.finished:
                intake.queue.cancel(job)

    return router


def finding_router(intake: Intake) -> APIRouter:
    """Find sounds, and wait for the result."""
    router = APIRouter(tags=["separation"])

    @router.post(
        "/v1/find",
        responses=problems(*UPLOAD_ERRORS),
        dependencies=[Depends(known_fields_only)],
    )
    async def find_sounds(
        request: Request,
        file: Recording,
        query: Texts = [],  # noqa: B006
        image: Images = [],  # noqa: B006
        sensitivity: Sensitivity = 0.5,
    ) -> Found:
        """When the sounds of the queries are heard; without queries, which known sounds are, and when."""
        wanted = intake.wanted_of(file, query, image, sensitivity=sensitivity, may_be_none=True)
        job = await intake.submit(request, file, image, wanted, finding_work)
        try:
            if not await has_finished(job, request):
                raise HTTPException(400, "The client has gone.")
            return Found.model_validate(cast(FindResult, outcome_of(job)).as_dict())
        finally:
            intake.queue.cancel(job)

    return router


def _response(separation: Separation, format: Format, residual: bool) -> JobFile:
    """One audio file for one target, an archive for more."""
    _, *targets, _ = separation.parts
    if len(targets) == 1 and not residual:
        return JobFile(
            part_file(targets[0], format),
            filename=separation.file_name(targets[0], format),
            media_type=MEDIA_TYPES[format],
        )
    return JobFile(
        archive_file(separation, format, residual),
        filename=f"{separation.stem}.zip",
        media_type="application/zip",
    )
