"""What is asked of a recording: queries and what shall become of them, before and after encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipsep.errors import UsageError
from clipsep.queries.known import Familiarity
from clipsep.queries.parsing import Query, named_queries
from clipsep.separation.masking.combining import MaskPlan
from clipsep.separation.options import MIX, SeparationOptions


@dataclass(frozen=True)
class EncodedQueries:
    """Queries that are ready for any number of recordings.

    Attributes:
        names: those of the M targets.
        embeddings: those of all N queries, [N, D], drawn towards the sounds that the model knows.
        familiarity: how each compares with what the model was trained on; None where it is not known.
        plan: how the targets' masks are made of those of the queries.
        queries: names of the N queries; None if they are those of the targets.
    """

    names: list[str]
    embeddings: np.ndarray
    familiarity: list[Familiarity | None] | None = None
    plan: MaskPlan = field(default_factory=MaskPlan)
    queries: list[str] | None = None


class AskedQueries:
    """What is asked of a recording: checked, and not encoded yet.

    Attributes:
        names: those of the targets.
        queries: names of all queries, those that are excluded last.
        contents: texts, images and audio of the queries.
        plan: how masks of the contents become those of the targets.
    """

    def __init__(
        self, queries: Sequence[Query], options: SeparationOptions, video: Path | None = None
    ):
        wanted = named_queries(options.wanted(queries), video)
        excluded = named_queries(options.exclude, video) if options.exclude else {}
        twice = wanted.keys() & excluded.keys()
        if twice:
            raise UsageError(f"'{min(twice)}' cannot be wanted and excluded at once.")
        self.queries = [*wanted, *excluded]
        self.contents = [*wanted.values(), *excluded.values()]
        gains = tuple(options.gain.values()) or None
        self.plan = MaskPlan(len(excluded), options.together, bool(options.remove), gains)
        self.names = list(wanted)
        if gains:
            self.names = [MIX]
        elif options.remove:
            self.names = [f"without {' and '.join(wanted)}"]
        elif options.together:
            self.names = [" and ".join(wanted)]


def as_asked(
    queries: Sequence[Query] | EncodedQueries,
    options: SeparationOptions,
    video: Path | None = None,
) -> AskedQueries | EncodedQueries:
    """Check queries; those that are encoded already stay as they are. Errors as `AskedQueries`."""
    if isinstance(queries, EncodedQueries):
        return queries
    return AskedQueries(queries, options, video)
