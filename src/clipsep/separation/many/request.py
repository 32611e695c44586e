"""What is asked of many recordings: queries, model and options, as one object that travels to workers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from clipsep._version import __version__
from clipsep.checkpoint import WEIGHTS_NAME, find_checkpoint, load_config, shipped_models
from clipsep.errors import UsageError
from clipsep.files import fingerprint, is_folder
from clipsep.queries.parsing import IMAGE_SUFFIXES, Frame, Query
from clipsep.separation.files.outputs import output_paths
from clipsep.separation.many.recordings import Recording
from clipsep.separation.options import SeparationOptions
from clipsep.separation.querying.asked import AskedQueries


@dataclass(frozen=True)
class SeparationRequest:
    """What is asked of every recording, in the words of `Separator.separate_file`."""

    queries: Sequence[Query]
    model: str = "mini"
    query_encoder: str | None = None
    options: SeparationOptions = field(default_factory=SeparationOptions)
    device: str = "auto"
    engine: str = "auto"

    @cached_property
    def names(self) -> list[str]:
        """Of the targets; UsageError for a bad query."""
        return AskedQueries(self.queries, self.options).names

    @cached_property
    def digest(self) -> str:
        """Changes with everything that the outputs depend on, but for the recording itself."""
        folder = find_checkpoint(self.model)
        config = load_config(folder)
        weights = config.sha256 or fingerprint(folder / WEIGHTS_NAME)
        images = [fingerprint(path) for path in map(_image_path, self._all_queries) if path]
        asked = {
            **asdict(replace(self, options=replace(self.options, skip_existing=False))),
            "device": None,
            "engine": None,
            "model": config.model_dump(mode="json"),
        }
        content = repr([__version__, asked, weights, images])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def options_for(self, recording: Recording) -> SeparationOptions:
        """With file names in which the recording keeps its suffix, if it needs that."""
        template = self.options.filename.replace("{stem}", "{stem}" + recording.suffix)
        return self.options.changed(filename=template)

    def outputs(self, recording: Recording, output: Path) -> list[Path]:
        """List the files that a recording becomes."""
        folder = (output / recording.name).parent
        options = self.options_for(recording)
        tracks, figure = output_paths(recording.path, folder, self.names, options)
        return [*tracks.values(), *([figure] if figure else [])]

    def is_written(self, recording: Recording, output: Path) -> bool:
        """Whether all files that a recording becomes are there."""
        return all(path.is_file() for path in self.outputs(recording, output))

    def with_absolute_paths(self) -> SeparationRequest:
        """Return the same request for workers, which have working folders of their own."""
        options = replace(
            self.options,
            exclude=_with_absolute(self.options.exclude),
            remove=_with_absolute(self.options.remove),
            gain={_absolute(query): gain for query, gain in self.options.gain.items()},
        )
        model = self.model
        if model not in shipped_models() and is_folder(Path(model)):
            model = str(Path(model).absolute())
        encoder = self.query_encoder
        family, _, place = (encoder or "").partition(":")
        if place and is_folder(Path(place)):
            encoder = f"{family}:{Path(place).absolute()}"
        return replace(
            self,
            queries=_with_absolute(self.queries),
            options=options,
            model=model,
            query_encoder=encoder,
        )

    @property
    def _all_queries(self) -> list[Query]:
        options = self.options
        return [*self.queries, *options.exclude, *options.remove, *options.gain]


def _image_path(query: Query) -> Path | None:
    """Return the file that a query names; None for a text."""
    if isinstance(query, Frame):
        raise UsageError("A frame is a query for the one video file that it is taken from.")
    if isinstance(query, Path):
        return query
    if isinstance(query, str) and Path(query).suffix.lower() in IMAGE_SUFFIXES:
        return Path(query)
    return None


def _absolute(query: Query) -> Query:
    path = _image_path(query)
    return path.absolute() if path else query


def _with_absolute(queries: Sequence[Query]) -> list[Query]:
    return [_absolute(query) for query in queries]
