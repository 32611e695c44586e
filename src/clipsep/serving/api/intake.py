"""Takes uploads in: checks the queries, stores the files, and puts the work in the queue."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import File, Form, Request, UploadFile
from starlette.concurrency import run_in_threadpool

from clipsep import Separator, UsageError
from clipsep.messages import printable
from clipsep.queries.parsing import IMAGE_SUFFIXES, named_queries
from clipsep.serving.guard import client_of
from clipsep.serving.limits import Limits
from clipsep.serving.work.parts import SeparationRequest, separation_work
from clipsep.serving.work.queue import Job, JobQueue
from clipsep.serving.work.uploads import AUDIO_UPLOAD, image_upload

POLL_SECONDS = 0.05
Recording = Annotated[UploadFile, File(description="Audio or video file.")]
Texts = Annotated[list[str], Form(description="What to separate, for example: dog barking.")]
Images = Annotated[list[UploadFile], File(description="Images of what to separate.")]
Binary = Annotated[bool, Form(description="Masks of 0 and 1 instead of soft ones.")]
Sensitivity = Annotated[
    float,
    Form(
        ge=0,
        le=1,
        allow_inf_nan=False,  # not a number is neither above 1 nor below 0
        description="More finds more, and lets more of other sounds through.",
    ),
]


@dataclass(frozen=True)
class Intake:
    """What all routes that take uploads share: the model, the queue and the limits."""

    separator: Separator
    queue: JobQueue
    limits: Limits

    async def submit(
        self,
        request: Request,
        file: UploadFile,
        images: list[UploadFile],
        wanted: SeparationRequest,
        make_work: Callable[
            [Separator, SeparationRequest, Limits], Callable[[Job], object]
        ] = separation_work,
    ) -> Job:
        """Store the uploads and put their work in the queue.

        Raises:
            Busy: if the queue is full; nothing stays on disk then.
        """
        folder = self.queue.new_folder()
        try:
            await run_in_threadpool(_store, file, folder / AUDIO_UPLOAD)
            for number, image in enumerate(images, start=1):
                await run_in_threadpool(_store, image, folder / image_upload(number))
            work = make_work(self.separator, wanted, self.limits)
            return self.queue.submit(Job(folder, client_of(request.scope), work))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def wanted_of(
        self,
        file: UploadFile,
        texts: list[str],
        images: list[UploadFile],
        binary: bool = False,
        sensitivity: float = 0.5,
        may_be_none: bool = False,
    ) -> SeparationRequest:
        """Check the queries of a request.

        Args:
            may_be_none: whether a request without queries means something.

        Raises:
            UsageError: if there are none or too many, or one cannot be used.
        """
        if may_be_none and not texts and not images:
            return SeparationRequest(stem_of(file), (), 0, binary, sensitivity)
        checked = checked_texts(texts, len(images), self.limits)
        return SeparationRequest(stem_of(file), checked, len(images), binary, sensitivity)


async def has_finished(job: Job, request: Request) -> bool:
    """Wait for a job; False if the client has gone away before it was finished."""
    while not job.finished:
        if await request.is_disconnected():
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def stem_of(file: UploadFile) -> str:
    """Keep what is safe of an upload's name, for names of downloads only."""
    stem = Path((file.filename or "").replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "recording"


async def known_fields_only(request: Request) -> None:
    """Refuse a form with a field that the route does not have: it may be an option, misspelt."""
    fields = {field.alias for field in request.scope["route"].dependant.body_params}
    for name in await request.form():
        if name not in fields:
            raise UsageError(
                f"The form has a field '{printable(name)[:60]}', which this address does not have: it "
                f"takes {', '.join(sorted(fields))}."
            )


def checked_texts(texts: list[str], n_images: int, limits: Limits) -> tuple[str, ...]:
    """Return the texts of a request without needless spaces.

    Raises:
        UsageError: if there are no queries or too many, or one cannot be used.
    """
    texts = [" ".join(text.split()) for text in texts]
    number = len(texts) + n_images
    if not number:
        raise UsageError("The request has no query: send at least one text or image.")
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
    # Names, lengths and duplicates are checked before the request waits in the queue for nothing.
    named_queries(texts or ["an image alone"])
    return tuple(texts)


def _store(upload: UploadFile, path: Path) -> None:
    with open(path, "wb") as file:
        shutil.copyfileobj(upload.file, file, 2**20)
