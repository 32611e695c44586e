"""Routes that hand out what a finished job holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, Response

from clipsep import UsageError
from clipsep.serving.api.answers import (
    AUDIO_CONTENT,
    BINARY_CONTENT,
    JOB_ERRORS,
    MEDIA_TYPES,
    Format,
    JobId,
    find_job,
    outcome_of,
    problems,
)
from clipsep.serving.work.parts import (
    Part,
    Separation,
    archive_file,
    mix_file,
    part_file,
    spectrogram_file,
)
from clipsep.serving.work.queue import JobQueue

FormatQuery = Annotated[Format, Query(description="Format of the file.")]


def results_router(queue: JobQueue) -> APIRouter:
    """Downloads: parts, images of them, mixes, and everything at once."""
    router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
    failures = problems(*JOB_ERRORS)

    @router.get(
        "/parts/{number}",
        response_class=Response,
        responses={200: {"content": AUDIO_CONTENT}, 206: {"content": AUDIO_CONTENT}, **failures},
    )
    def part(job_id: JobId, number: int, format: FormatQuery = "wav") -> Response:
        """One part as a sound file."""
        separation = outcome_of(find_job(queue, job_id))
        one = _part(separation, number)
        return FileResponse(
            part_file(one, format),
            filename=separation.file_name(one, format),
            media_type=MEDIA_TYPES[format],
        )

    @router.get(
        "/parts/{number}/spectrogram",
        response_class=Response,
        responses={200: {"content": {"image/png": BINARY_CONTENT}}, **failures},
    )
    def spectrogram(job_id: JobId, number: int) -> Response:
        """An image of one part: time to the right, frequency upwards, 70 dB of colours."""
        separation = outcome_of(find_job(queue, job_id))
        part = _part(separation, number)
        return FileResponse(spectrogram_file(separation, part), media_type="image/png")

    @router.get(
        "/mix",
        response_class=Response,
        responses={200: {"content": AUDIO_CONTENT}, 206: {"content": AUDIO_CONTENT}, **failures},
    )
    def mix(
        job_id: JobId,
        gain: Annotated[
            list[Annotated[float, Query(ge=-60, le=24)]],
            Query(description="dB, one for each target, then the residual; -60 leaves it out."),
        ],
        format: FormatQuery = "wav",
    ) -> Response:
        """The parts added up, each at a level of its own."""
        separation = outcome_of(find_job(queue, job_id))
        expected = len(separation.parts) - 1
        if len(gain) != expected:
            raise UsageError(f"There are {expected} parts, and {len(gain)} gains for them.")
        return FileResponse(
            mix_file(separation, gain, format),
            filename=f"{separation.stem}.mix.{format}",
            media_type=MEDIA_TYPES[format],
        )

    @router.get(
        "/archive",
        response_class=Response,
        responses={200: {"content": {"application/zip": BINARY_CONTENT}}, 206: {}, **failures},
    )
    def archive(job_id: JobId, format: FormatQuery = "wav") -> Response:
        """All targets and the residual as a ZIP, with report.json."""
        separation = outcome_of(find_job(queue, job_id))
        return FileResponse(
            archive_file(separation, format, residual=True),
            filename=f"{separation.stem}.zip",
            media_type="application/zip",
        )

    return router


def _part(separation: Separation, number: int) -> Part:
    if not 0 <= number < len(separation.parts):
        raise HTTPException(404, f"There is no part {number}.")
    return separation.parts[number]
