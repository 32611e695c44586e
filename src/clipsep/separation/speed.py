"""How fast this machine separates with a model: what `clipsep bench` measures."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import numpy as np

from clipsep.messages import Progress
from clipsep.separation.separator import EncodedQueries, Separator

FORMATS = {"mono, 16 kHz": (16000, 1), "stereo, 44.1 kHz": (44100, 2)}
QUERIES = ("rain", "dog barking")


@dataclass(frozen=True)
class Speed:
    """Of one engine on one device.

    Attributes:
        load_seconds: time until the model is ready for its first audio.
        query_seconds: time until the first text is read, with what that loads.
        times_real_time: seconds of audio per second of work with one query, by the audio's format.
        further_query_percent: how much a second query lengthens the work on mono audio.
        peak_megabytes: most memory of the whole process so far; None where the system does not tell.
    """

    engine: str
    device: str
    threads: int | None
    load_seconds: float
    query_seconds: float
    times_real_time: dict[str, float]
    further_query_percent: float
    peak_megabytes: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_speed(
    model: str,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    seconds: int = 30,
    repeats: int = 3,
    progress: Progress | None = None,
) -> Speed:
    """Measure one engine, with noise, whose kind does not matter for speed.

    Args:
        threads: how many one operation uses; None for one per core.
        seconds: length of the audio.
        repeats: number of runs, of which the median counts.
        progress: is called with the runs that are done, and all of them.

    Raises:
        UsageError, ClipsepError: if the model cannot be loaded, see `Separator.from_pretrained`.
    """
    start = time.perf_counter()
    separator = Separator.from_pretrained(model, device, engine=engine, threads=threads)
    loaded = time.perf_counter()
    # A name that no cache knows, so that the encoder is loaded and used.
    separator.encode([f"rain {time.time_ns()}"])
    first_query = time.perf_counter()
    queries = separator.encode(QUERIES)
    one = EncodedQueries(queries.names[:1], queries.embeddings[:1])
    runs = count(1)
    total = (len(FORMATS) + 1) * (repeats + 1)

    def ran() -> None:
        if progress:
            progress(next(runs), total)

    work = {
        name: _median_seconds(separator, one, rate, channels, seconds, repeats, ran)
        for name, (rate, channels) in FORMATS.items()
    }
    mono = next(iter(FORMATS))
    both = _median_seconds(separator, queries, *FORMATS[mono], seconds, repeats, ran)
    return Speed(
        engine=separator.engine.name,
        device=separator.engine.device,
        threads=threads,
        load_seconds=loaded - start,
        query_seconds=first_query - loaded,
        times_real_time={name: seconds / spent for name, spent in work.items()},
        further_query_percent=100 * (both / work[mono] - 1),
        peak_megabytes=peak_megabytes(),
    )


def _median_seconds(
    separator: Separator,
    queries: EncodedQueries,
    sample_rate: int,
    channels: int,
    seconds: int,
    repeats: int,
    ran: Callable[[], None],
) -> float:
    noise = np.random.default_rng(0).standard_normal((channels, sample_rate)).astype(np.float32)
    spent = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        for _ in separator.stream((0.1 * noise for _ in range(seconds)), sample_rate, queries):
            pass
        if number:  # the first one warms up
            spent.append(time.perf_counter() - start)
        ran()
    return statistics.median(spent)


def peak_megabytes() -> float | None:
    """Return the most memory that this process has had so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
