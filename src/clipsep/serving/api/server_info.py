"""Routes that say what the server is and takes."""

from __future__ import annotations

from fastapi import APIRouter

from clipsep import Separator, __version__, shipped_models
from clipsep.media import OUTPUT_FORMATS
from clipsep.serving.api.answers import MEDIA_TYPES, Capabilities, Health, ModelEntry, problems
from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import JobQueue


def info_router(separator: Separator, queue: JobQueue, limits: Limits) -> APIRouter:
    """Health, models and limits."""
    router = APIRouter(tags=["server"])

    # Async, so that it needs none of the threads, which may all be busy.
    @router.get("/health", responses=problems(400))
    async def health() -> Health:
        """Whether the server lives, and how busy it is."""
        waiting, running = queue.counts()
        return Health(version=__version__, waiting=waiting, running=running)

    @router.get("/v1/models", responses=problems(400, 401))
    async def models() -> list[ModelEntry]:
        """List the model of this server first, then the others that the package ships."""
        config = separator.config
        own = ModelEntry(
            name=config.name,
            loaded=True,
            query_encoder=config.query_encoder,
            known_sounds=config.known_sounds,
        )
        others = [name for name in shipped_models() if name != config.name]
        return [own, *(ModelEntry(name=name, loaded=False) for name in others)]

    @router.get("/v1/limits", responses=problems(400, 401))
    async def get_limits() -> Capabilities:
        """Tell what this server takes at most."""
        return Capabilities(
            upload_bytes=limits.upload_bytes,
            seconds=limits.seconds,
            queries=limits.queries,
            query_characters=limits.query_characters,
            image_pixels=limits.image_pixels,
            formats=[name for name in MEDIA_TYPES if name in OUTPUT_FORMATS],
        )

    return router
