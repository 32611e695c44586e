"""Routes that take a recording: wait for the result, or put it in the queue."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

from fastapi import APIRouter, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from clipsep import Separator, UsageError
from clipsep.finding import FindResult
from clipsep.queries.parsing import IMAGE_SUFFIXES, named_queries
from clipsep.serving.api.answers import (
    AUDIO_CONTENT,
    BINARY_CONTENT,
    MEDIA_TYPES,
    UPLOAD_ERRORS,
    Format,
    Found,
    JobId,
    JobStatus,
    find_job,
    outcome_of,
    problems,
    status_of,
)
from clipsep.serving.guard import client_of
from clipsep.serving.limits import Limits
from clipsep.serving.work.parts import (
    SeparationRequest,
    archive_file,
    finding_work,
    part_file,
    separation_work,
)
from clipsep.serving.work.queue import Job, JobQueue
from clipsep.serving.work.uploads import AUDIO_UPLOAD, image_upload

POLL_SECONDS = 0.05
Recording = Annotated[UploadFile, File(description="Sound or video file.")]
Texts = Annotated[list[str], Form(description="What to separate, for example: dog barking.")]
Images = Annotated[list[UploadFile], File(description="Images of what to separate.")]
Binary = Annotated[bool, Form(description="Masks of 0 and 1 instead of soft ones.")]
Sensitivity = Annotated[
    float, Form(ge=0, le=1, description="More finds more, and lets more of other sounds through.")
]


def separation_router(separator: Separator, queue: JobQueue, limits: Limits) -> APIRouter:
    """Uploads, and what becomes of them."""
    router = APIRouter(tags=["separation"])

    async def submit(
        request: Request,
        file: UploadFile,
        images: list[UploadFile],
        wanted: SeparationRequest,
        make_work: Callable[..., Callable[[Job], object]] = separation_work,
    ) -> Job:
        folder = queue.new_folder()
        try:
            await run_in_threadpool(_store, file, folder / AUDIO_UPLOAD)
            for number, image in enumerate(images, start=1):
                await run_in_threadpool(_store, image, folder / image_upload(number))
            work = make_work(separator, wanted, limits)
            return queue.submit(Job(folder, client_of(request.scope), work))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def wanted_of(
        file: UploadFile,
        texts: list[str],
        images: list[UploadFile],
        binary: bool = False,
        sensitivity: float = 0.5,
    ) -> SeparationRequest:
        checked = _checked_texts(texts, len(images), limits)
        return SeparationRequest(_stem(file.filename), checked, len(images), binary, sensitivity)

    @router.post(
        "/v1/separate",
        response_class=Response,
        responses={
            200: {"content": {**AUDIO_CONTENT, "application/zip": BINARY_CONTENT}},
            **problems(*UPLOAD_ERRORS),
        },
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

        The answer is one sound file for one query, and a ZIP of sound files and report.json for
        several queries or with the residual.
        """
        wanted = wanted_of(file, query, image, binary, sensitivity)
        job = await submit(request, file, image, wanted)
        try:
            if not await _finished(job, request):
                return Response(status_code=400)  # nobody reads it
            separation = outcome_of(job)
            if len(query) + len(image) > 1 or residual:
                path = await run_in_threadpool(archive_file, separation, format, residual)
                name, media_type = f"{separation.stem}.zip", "application/zip"
            else:
                part = separation.parts[1]
                path = await run_in_threadpool(part_file, part, format)
                name, media_type = separation.file_name(part, format), MEDIA_TYPES[format]
        except BaseException:
            queue.cancel(job)
            raise
        finally:
            if not job.finished:
                queue.cancel(job)
        tidy = BackgroundTask(queue.cancel, job)
        return FileResponse(path, filename=name, media_type=media_type, background=tidy)

    @router.post("/v1/find", responses=problems(*UPLOAD_ERRORS))
    async def find_sounds(
        request: Request,
        file: Recording,
        query: Texts = [],  # noqa: B006
        image: Images = [],  # noqa: B006
        sensitivity: Sensitivity = 0.5,
    ) -> Found:
        """When the sounds of the queries are heard; without queries, which known sounds are, and when."""
        if query or image:
            wanted = wanted_of(file, query, image, sensitivity=sensitivity)
        else:
            wanted = SeparationRequest(_stem(file.filename), (), 0, False, sensitivity)
        job = await submit(request, file, image, wanted, finding_work)
        try:
            if not await _finished(job, request):
                raise HTTPException(400, "The client has gone.")
            return Found.model_validate(cast(FindResult, outcome_of(job)).as_dict())
        finally:
            queue.cancel(job)

    @router.post("/v1/jobs", status_code=202, responses=problems(*UPLOAD_ERRORS[:-1]))
    async def start_job(
        request: Request,
        file: Recording,
        query: Texts = [],  # noqa: B006
        image: Images = [],  # noqa: B006
        binary: Binary = False,
        sensitivity: Sensitivity = 0.5,
    ) -> JobStatus:
        """Put a recording in the queue; GET /v1/jobs/ID says what became of it."""
        wanted = wanted_of(file, query, image, binary, sensitivity)
        job = await submit(request, file, image, wanted)
        return status_of(job, queue)

    @router.get("/v1/jobs/{job_id}", responses=problems(400, 401, 404))
    def job_status(job_id: JobId) -> JobStatus:
        """State, place in the queue, progress and, at the end, the parts."""
        return status_of(find_job(queue, job_id), queue)

    @router.delete("/v1/jobs/{job_id}", status_code=204, responses=problems(400, 401, 403, 404))
    def delete_job(job_id: JobId) -> Response:
        """Stop a job if it runs, and remove its files."""
        queue.cancel(find_job(queue, job_id))
        return Response(status_code=204)

    return router


async def _finished(job: Job, request: Request) -> bool:
    """Wait for a job; False if the client has gone away before it was finished."""
    while not job.finished:
        if await request.is_disconnected():
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _checked_texts(texts: list[str], n_images: int, limits: Limits) -> tuple[str, ...]:
    texts = [" ".join(text.split()) for text in texts]
    number = len(texts) + n_images
    if not number:
        raise UsageError("There is no query: send at least one text or image.")
    if number > limits.queries:
        raise UsageError(f"{number} queries are too many: this server takes {limits.queries}.")
    for text in texts:
        if not text.isprintable() or not text:
            raise UsageError('A query is empty or not a text: name a sound, as in "dog barking".')
        if len(text) > limits.query_characters:
            raise UsageError(
                f"A query has {len(text)} characters: this server takes {limits.query_characters}."
            )
        # In Python such a text is the path of an image; no path of a client is ever opened.
        if Path(text).suffix.lower() in IMAGE_SUFFIXES:
            raise UsageError(f"'{text}' looks like a file: send images as files, named 'image'.")
    # Names, length and twice the same: before the request waits in the queue for nothing.
    named_queries(texts or ["an image alone"])
    return tuple(texts)


def _stem(name: str | None) -> str:
    """For names of downloads only: what is left of the upload's name."""
    stem = Path((name or "").replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "recording"


def _store(upload: UploadFile, path: Path) -> None:
    with open(path, "wb") as file:
        shutil.copyfileobj(upload.file, file, 2**20)
