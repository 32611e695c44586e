"""What the API answers: the shapes of its JSON, its errors, and their descriptions for OpenAPI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

from fastapi import HTTPException
from fastapi import Path as UrlPath
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from clipsep.feedback import Level
from clipsep.finding import FindResult
from clipsep.serving.work.parts import Kind, Separation
from clipsep.serving.work.queue import Job, JobQueue, Removed, State

Format = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]
MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
}
BINARY_CONTENT = {"schema": {"type": "string", "format": "binary"}}
AUDIO_CONTENT = dict.fromkeys(MEDIA_TYPES.values(), BINARY_CONTENT)


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


class Health(BaseModel):
    """Whether the server lives, and how busy it is."""

    status: Literal["ok"] = "ok"
    version: str
    waiting: int
    running: int


class ModelEntry(BaseModel):
    """A model: the one that this server uses, or another that the package ships.

    ``known_sounds`` are those it was trained with; it takes any other query too.
    """

    name: str
    loaded: bool
    query_encoder: str | None = None
    known_sounds: list[str] = []


class Capabilities(BaseModel):
    """What this server takes at most."""

    upload_bytes: int
    seconds: float
    queries: int
    query_characters: int
    image_pixels: int
    formats: list[Format]


class PartEntry(BaseModel):
    """One part of a recording; its number in the list is its number in addresses.

    ``familiarity``, ``nearest_known`` and ``confidence`` are of a target's query, where the model says
    them.
    """

    name: str
    kind: Kind
    level_dbfs: float | None
    energy_share: float
    file_name: str
    familiarity: Level | None = None
    nearest_known: list[str] = []
    confidence: float | None = None


class SpanEntry(BaseModel):
    """A stretch of time in seconds in which a sound is heard."""

    start: float
    end: float
    confidence: float


class FoundEntry(BaseModel):
    """When the sound of a query is heard; ``seconds`` in all."""

    query: str
    confidence: float
    familiarity: Level | None = None
    seconds: float
    spans: list[SpanEntry]


class Found(BaseModel):
    """What was found in a recording, and its length."""

    seconds: float
    sounds: list[FoundEntry]


class FamiliarityEntry(BaseModel):
    """How a text compares with the sounds that the model was trained with, where the model says it."""

    query: str
    familiarity: Level | None = None
    nearest_known: list[str] = []


class JobStatus(BaseModel):
    """What became of a request; ``ahead`` requests come before it.

    At the end ``parts`` are there, or ``found`` if that was wanted.
    """

    id: str
    state: State
    ahead: int
    progress: float
    error: str | None = None
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    parts: list[PartEntry] = []
    found: Found | None = None


_NO_JOB = "This job does not exist, or is not kept any more."
_FAILED = "The server failed at this request; its log says why."
_TEXTS = {
    400: "The request is not well formed.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: _NO_JOB,
    408: "The upload was too slow.",
    409: "The job is not finished, or it failed.",
    413: "The upload is too large.",
    422: "The recording, a query or an option cannot be used.",
    429: "You have too many unfinished requests here; Retry-After says when to try again.",
    500: "The server failed.",
    503: "The queue is full, or the server is being stopped; Retry-After says when to try again.",
    504: "The work took longer than the server allows.",
}
UPLOAD_ERRORS = (400, 401, 403, 408, 413, 422, 429, 500, 503, 504)
JOB_ERRORS = (400, 401, 404, 409, 422, 500)


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these status codes come with a `Problem`."""
    return {code: {"model": Problem, "description": _TEXTS[code]} for code in codes}


JobId = Annotated[str, UrlPath(description="What POST /v1/jobs gave as id.")]


class JobFile(FileResponse):
    """A file of a job, or 404 if the job and its files went meanwhile."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; its headers wait until it is open, for after them nothing else can be said."""
        headers: Message | None = None

        async def send_when_open(message: Message) -> None:
            nonlocal headers
            if message["type"] == "http.response.start":
                headers = message
                return
            if headers is not None:
                await send(headers)
                headers = None
            await send(message)

        try:
            await super().__call__(scope, receive, send_when_open)
        except (FileNotFoundError, RuntimeError) as error:
            if Path(self.path).exists():
                raise
            raise Removed(_NO_JOB) from error


def find_job(queue: JobQueue, job_id: str) -> Job:
    """Find the job of an id; 404 if there is none."""
    job = queue.get(job_id)
    if job is None:
        raise HTTPException(404, _NO_JOB)
    return job


def outcome_of(job: Job) -> object:
    """Return what a finished job holds; its error if it failed, 409 if it is not finished."""
    if job.state == "done":
        return job.outcome
    if job.state == "failed" and job.error is not None:
        raise job.error
    if job.state == "failed":
        raise HTTPException(500, _FAILED)
    raise HTTPException(409, f"The job is {job.state}.")


def separation_of(job: Job) -> Separation:
    """As `outcome_of`; 409 for a job that only finds sounds."""
    outcome = outcome_of(job)
    if not isinstance(outcome, Separation):
        raise HTTPException(409, "This job only says when sounds are heard: it has no files.")
    return outcome


def status_of(job: Job, queue: JobQueue) -> JobStatus:
    """Describe the state of a job, and its parts at the end."""
    status = JobStatus(
        id=job.id, state=job.state, ahead=queue.ahead(job), progress=round(job.progress, 4)
    )
    if status.state == "failed":
        status.error = str(job.error or _FAILED)
    if status.state == "done":
        status.progress = 1.0
    if status.state == "done" and isinstance(job.outcome, FindResult):
        status.found = Found.model_validate(job.outcome.as_dict())
        status.seconds = status.found.seconds
    elif status.state == "done":
        separation = cast(Separation, job.outcome)
        status.seconds = separation.recording.seconds
        status.sample_rate = separation.recording.sample_rate
        status.channels = separation.recording.channels
        status.parts = [
            PartEntry(
                name=part.name,
                kind=part.kind,
                level_dbfs=part.level,
                energy_share=part.energy_share,
                file_name=separation.file_name(part, "wav"),
                **part.feedback,
            )
            for part in separation.parts
        ]
    return status
