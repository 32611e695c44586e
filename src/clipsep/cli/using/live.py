"""`clipsep live`: sound that arrives now, separated a moment later."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from clipsep.cli.console import Device, Sensitivity
from clipsep.cli.recordings import EncoderName, Engine, Images, Like, Model, Query
from clipsep.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from clipsep.separation.options import SeparationOptions
    from clipsep.separation.separator import Separator

_BLOCK_SECONDS = 0.05
_MOST_CHANNELS = 64


def live(
    query: Query = None,
    image: Images = None,
    like: Like = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Sound to take out; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TEXT", help="Sound that must not be heard."),
    ] = None,
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", help="From a sound to its separated sound, 0.25 on.")
    ] = 0.5,
    raw: Annotated[
        bool, typer.Option("--raw", help="Samples from stdin to stdout instead of sound devices.")
    ] = False,
    rate: Annotated[
        int, typer.Option(metavar="HZ", min=1000, max=768_000, help="Sample rate.")
    ] = 48_000,
    channels: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MOST_CHANNELS, help="Interleaved channels.")
    ] = 1,
    sensitivity: Sensitivity = 0.5,
    model: Model = "mini",
    query_encoder: EncoderName = None,
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """Separate what the microphone or a pipe gives, as it comes.

    Raw samples are 32-bit floating point, little-endian, channels interleaved, in and out. Several queries
    are heard together.
    """
    from clipsep.separation.options import SeparationOptions
    from clipsep.separation.separator import Separator

    queries: list[Any] = [*(query or []), *(image or []), *(like or [])]
    if not queries and not remove:
        raise UsageError('Say what to hear: -q "person speaking"; or what to --remove.')
    options = SeparationOptions(
        together=not remove, exclude=exclude or (), remove=remove or (), sensitivity=sensitivity
    )
    options.wanted(queries)
    separator = Separator.from_pretrained(model, device, query_encoder, engine=engine)
    if raw:
        blocks = _blocks_from(sys.stdin.buffer, rate, channels)
        _copy(separator, blocks, rate, queries, options, latency, sys.stdout.buffer)
    else:
        _through_devices(separator, rate, channels, queries, options, latency)


def _blocks_from(stream: Any, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks [C, n] of raw samples; what is left of a last frame is dropped."""
    import numpy as np

    width = 4 * channels
    size = max(1, round(_BLOCK_SECONDS * rate)) * width
    rest = b""
    while data := stream.read1(size):  # whatever there is, without waiting for a whole block
        data = rest + data
        whole = len(data) - len(data) % width
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<f4").reshape(-1, channels).T


def _copy(
    separator: Separator,
    blocks: Iterator[np.ndarray],
    rate: int,
    queries: list,
    options: SeparationOptions,
    latency: float,
    out: BinaryIO,
) -> None:
    import numpy as np

    for block in separator.stream(blocks, rate, queries, options, latency=latency):
        (target,) = block.targets.values()
        out.write(np.ascontiguousarray(target.T, "<f4").tobytes())
        out.flush()


def _through_devices(
    separator: Separator,
    rate: int,
    channels: int,
    queries: list,
    options: SeparationOptions,
    latency: float,
) -> None:
    from clipsep.separation.sound_devices import SoundDevices

    # The encoder loads before the microphone opens, whose first seconds would wait for it.
    encoded = separator.encode(queries, options)
    # Ctrl-C is how it ends.
    with suppress(KeyboardInterrupt), SoundDevices(rate, channels) as devices:
        print(
            f"clipsep: {', '.join(encoded.names)}, about {latency:g} s after it sounds; Ctrl-C ends.",
            file=sys.stderr,
        )
        gaps = 0
        for block in separator.stream(devices.heard(), rate, encoded, options, latency=latency):
            (target,) = block.targets.values()
            devices.play(target)
            if not gaps and (gaps := devices.gaps):
                print(
                    "clipsep: this computer was too slow for a moment, which makes a gap; if there are "
                    "more, raise --latency.",
                    file=sys.stderr,
                )
