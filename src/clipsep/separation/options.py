"""How something is separated, in one object for waveforms, streams, files and folders of files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any

import numpy as np

from clipsep.errors import UsageError
from clipsep.media import output_format
from clipsep.queries.parsing import Query
from clipsep.separation.masking.query_masks import SENSITIVITY, sensitivity_bias

FILE_NAME = "{stem}.{query}.{ext}"
MIX = "mix"
_MOST_DB = 60.0
_PLACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class SeparationOptions:
    """How a recording is separated; each has the name of the command line's option.

    Attributes:
        binary: masks of 0 and 1 instead of soft ones.
        sensitivity: between 0 and 1: more finds more of each sound, and more of the others
            with it; 0.5 takes masks as the model gives them. The odds that a spot of the spectrogram
            belongs to the sound are multiplied by sensitivity / (1 - sensitivity).
        together: one target with everything that the queries name.
        exclude: queries for what the targets must not contain (``--not``).
        remove: queries, in place of those for targets: the target is the recording without them.
        gain: gains in dB by query, in place of queries: the target is a mix with each of them louder
            or softer; at -60 dB a sound is as good as gone.
        start, end: limits of the part of a file that is separated, in seconds; None for the file's own.
        residual: whether the residual is written, too.
        format: kind of files that are written, one of `clipsep.media.OUTPUT_FORMATS`.
        bit_depth: bits of a sample in a file: 16, 24 or 32 (floating point) for wav, 16 or 24 for flac.
        bit_rate: rate of lossy files, in kbit/s for all channels.
        plot: whether the spectrograms of all parts are drawn, too.
        filename: names of files; ``{stem}`` of the recording, ``{query}`` and ``{ext}`` are filled in.
        skip_existing: leave a recording alone whose files are all there.
        video: whether videos become videos, with their frames as they are and each target as the sound.

    Raises:
        UsageError: if a value is impossible, or two of them exclude each other.
    """

    binary: bool = False
    sensitivity: float = SENSITIVITY
    together: bool = False
    exclude: Sequence[Query] = ()
    remove: Sequence[Query] = ()
    gain: Mapping[Any, float] = field(default_factory=dict)
    start: float | None = None
    end: float | None = None
    residual: bool = False
    format: str = "wav"
    bit_depth: int | None = None
    bit_rate: int | None = None
    plot: bool = False
    filename: str = FILE_NAME
    skip_existing: bool = False
    video: bool = False

    def __post_init__(self) -> None:
        for name in ("exclude", "remove"):
            queries = getattr(self, name)
            if isinstance(queries, set | frozenset):
                raise UsageError(f"The queries of {name} need an order: give a list, not a set.")
            if isinstance(queries, str) or not isinstance(queries, Sequence):
                object.__setattr__(self, name, (queries,))  # one query is a list of one
        self._check_types()
        sensitivity_bias(self.sensitivity)
        output_format(self.format, self.bit_depth, self.bit_rate)
        _check_file_name(self.filename)
        _check_span(self.start, self.end)
        if self.remove and self.gain:
            raise UsageError("Choose one: remove sounds, or give them a gain.")
        if self.together and (self.remove or self.gain):
            raise UsageError(
                "What is removed, or has a gain, becomes one file: leave out together."
            )
        for query, gain in self.gain.items():
            if not math.isfinite(gain) or abs(gain) > _MOST_DB:
                raise UsageError(
                    f"A gain is between -{_MOST_DB:.0f} and +{_MOST_DB:.0f} dB, not {gain} for '{query}'."
                )
        if self.video and (self.start or self.end is not None):
            raise UsageError(
                "A video keeps its frames as they are, from the first to the last: leave out the start "
                "and the end, or the video."
            )
        if self.video and (self.format != "wav" or self.bit_depth or self.bit_rate):
            raise UsageError(
                "The sound of a video has the format that suits its container: leave out format, bit "
                "depth and bit rate."
            )

    def _check_types(self) -> None:
        """Raise UsageError for a value of another type than the option's, as callers in Python may give."""
        for name in ("binary", "together", "residual", "plot", "skip_existing", "video"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise UsageError(f"{name} is True or False, not {getattr(self, name)!r}.")
        for name in ("format", "filename"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is a text, not {getattr(self, name)!r}.")
        for name in ("sensitivity", "start", "end", "bit_depth", "bit_rate"):
            value = getattr(self, name)
            if (value is not None or name == "sensitivity") and not _is_number(value):
                raise UsageError(f"{name} is a number, not {value!r}.")
        if not isinstance(self.gain, Mapping):
            raise UsageError(
                f'gain has a number of dB for each sound, as in {{"speech": 6}}, not {self.gain!r}.'
            )
        for query, gain in self.gain.items():
            if not _is_number(gain):
                raise UsageError(f"The gain for '{query}' is a number of dB, not {gain!r}.")

    def changed(self, **settings: Any) -> SeparationOptions:
        """Return the same options with other values; UsageError for an unknown name."""
        names = [one.name for one in fields(self)]
        for name in settings:
            if name not in names:
                raise UsageError(f"There is no option '{name}': there are {', '.join(names)}.")
        return replace(self, **settings)

    def wanted(self, queries: Sequence[Query]) -> Sequence[Query]:
        """List the queries that masks are made for, with those of ``remove`` or ``gain``.

        Raises:
            UsageError: if there are targets and something else that takes their place.
        """
        if isinstance(queries, str) or not isinstance(queries, Sequence):
            queries = [queries]
        if len(queries) and (self.remove or self.gain):
            instead = "removes sounds from" if self.remove else "turns sounds up and down in"
            raise UsageError(
                f"One command either separates sounds or {instead} a recording: leave out one of them."
            )
        return queries or self.remove or list(self.gain)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_file_name(template: str) -> None:
    places = set(_PLACES.findall(template))
    unknown = places - {"stem", "query", "ext"}
    if unknown or re.search(r"[{}]", _PLACES.sub("", template)):
        raise UsageError(
            f"The file name '{template}' may have {{stem}}, {{query}} and {{ext}} in braces, nothing else."
        )
    if not places & {"stem", "query"}:
        raise UsageError(f"The file name '{template}' would be the same for all: add {{query}}.")
    if not template.endswith(".{ext}"):
        raise UsageError(
            f"The file name '{template}' leaves the extension open: let it end with .{{ext}}."
        )
    if template.startswith(("/", "\\", "~")) or ".." in re.split(r"[/\\]", template):
        raise UsageError(
            f"The file name '{template}' leaves the output folder: choose that with -o."
        )


def _check_span(start: float | None, end: float | None) -> None:
    for name, moment in (("start", start), ("end", end)):
        if moment is not None and not 0 <= moment < math.inf:
            raise UsageError(f"The {name} is a number of seconds from 0 on, not {moment}.")
    if end is not None and end <= (start or 0.0):
        raise UsageError(f"The end, {end:g} s, does not lie after the start, {start or 0:g} s.")
