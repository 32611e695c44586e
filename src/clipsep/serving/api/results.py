"""Routes that send what a finished job holds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import Response

from clipsep import UsageError
from clipsep.messages import counted
from clipsep.serving.api.answers import (
    AUDIO_CONTENT,
    BINARY_CONTENT,
    JOB_ERRORS,
    MEDIA_TYPES,
    Format,
    JobFile,
    JobId,
    find_job,
    problems,
    separation_of,
)
from clipsep.serving.api.rendering import Renderer
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
Gain = Annotated[float, Query(ge=-60, le=24, allow_inf_nan=False)]
FAILURES = problems(*JOB_ERRORS)


def results_router(queue: JobQueue, render: Renderer) -> APIRouter:
    """Add the routes for downloads: parts, images of them, mixes, and everything at once."""
    router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

    def separation(job_id: JobId) -> Separation:
        return separation_of(find_job(queue, job_id))

    # Not async, so that it runs in a thread: the queue may be removing files.
    separated = Depends(separation)
    _add_parts(router, separated, render)
    _add_whole(router, separated, render)
    return router


def _add_parts(router: APIRouter, separated: Any, render: Renderer) -> None:
    @router.get(
        "/parts/{number}",
        response_class=Response,
        responses={200: {"content": AUDIO_CONTENT}, 206: {"content": AUDIO_CONTENT}, **FAILURES},
    )
    async def part(
        number: int, format: FormatQuery = "wav", separation: Separation = separated
    ) -> Response:
        """One part as an audio file.

        WAV holds any level. Other formats end at full scale: louder samples are limited to it, so that
        all parts keep their levels.
        """
        one = _part(separation, number)
        return JobFile(
            one.path if format == "wav" else await render(part_file, one, format),
            filename=separation.file_name(one, format),
            media_type=MEDIA_TYPES[format],
        )

    @router.get(
        "/parts/{number}/spectrogram",
        response_class=Response,
        responses={200: {"content": {"image/png": BINARY_CONTENT}}, **FAILURES},
    )
    async def spectrogram(number: int, separation: Separation = separated) -> Response:
        """Draw one part: time to the right, frequency upwards, 70 dB of colours."""
        part = _part(separation, number)
        return JobFile(await render(spectrogram_file, separation, part), media_type="image/png")


def _add_whole(router: APIRouter, separated: Any, render: Renderer) -> None:
    @router.get(
        "/mix",
        response_class=Response,
        responses={200: {"content": AUDIO_CONTENT}, 206: {"content": AUDIO_CONTENT}, **FAILURES},
    )
    async def mix(
        gain: Annotated[
            list[Gain],
            Query(description="dB, one for each target, then the residual; -60 leaves it out."),
        ],
        format: FormatQuery = "wav",
        separation: Separation = separated,
    ) -> Response:
        """Add up the parts, each at a level of its own.

        WAV holds any level. In other formats, a mix that would pass full scale is lowered as a whole
        until it does not.
        """
        expected = len(separation.parts) - 1
        if len(gain) != expected:
            raise UsageError(
                f"This job has {expected} parts that can be mixed, but the request has "
                f"{counted(len(gain), 'gain')}: send one for each."
            )
        return JobFile(
            await render(mix_file, separation, gain, format),
            filename=f"{separation.stem}.mix.{format}",
            media_type=MEDIA_TYPES[format],
        )

    @router.get(
        "/archive",
        response_class=Response,
        responses={200: {"content": {"application/zip": BINARY_CONTENT}}, 206: {}, **FAILURES},
    )
    async def archive(format: FormatQuery = "wav", separation: Separation = separated) -> Response:
        """All targets and the residual as a ZIP, with report.json.

        For formats other than WAV it says as clipped_samples how many samples of each part were limited
        to full scale.
        """
        return JobFile(
            await render(archive_file, separation, format, residual=True),
            filename=f"{separation.stem}.zip",
            media_type="application/zip",
        )


def _part(separation: Separation, number: int) -> Part:
    if not 0 <= number < len(separation.parts):
        raise HTTPException(404, f"This job does not have a part {number}.")
    return separation.parts[number]
