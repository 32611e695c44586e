"""The route that says which texts the model knows, before anything is separated."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from clipsep import Separator
from clipsep.serving.api.answers import FamiliarityEntry, problems
from clipsep.serving.api.intake import checked_texts
from clipsep.serving.limits import Limits


def familiarity_router(separator: Separator, limits: Limits) -> APIRouter:
    """Compare texts with the sounds that the model was trained with."""
    router = APIRouter(tags=["server"])

    # Not async, so that it runs in a thread of its own: encoding takes a while.
    @router.get("/v1/familiarity", responses=problems(400, 401, 422))
    def familiarity(
        query: Annotated[list[str], Query(description="Texts, as for a separation.")],
    ) -> list[FamiliarityEntry]:
        """Say of each text whether the model knows such a sound, and the nearest sounds that it knows."""
        texts = checked_texts(query, 0, limits)
        compared = separator.encode(texts).familiarity or [None] * len(texts)
        return [
            FamiliarityEntry(query=text, familiarity=one.level, nearest_known=list(one.nearest))
            if one
            else FamiliarityEntry(query=text)
            for text, one in zip(texts, compared, strict=True)
        ]

    return router
