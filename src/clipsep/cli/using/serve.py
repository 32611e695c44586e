"""`clipsep serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsep.cli.console import Device
from clipsep.cli.recordings import EncoderName, Model


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="127.0.0.1: this machine only; 0.0.0.0: all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port.")] = 7860,
    model: Model = "mini",
    query_encoder: EncoderName = None,
    device: Device = "auto",
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="CLIPSEP_TOKEN",
            help="Password that page and programs must give; or in CLIPSEP_TOKEN.",
        ),
    ] = None,
    max_megabytes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest upload, in MiB.")
    ] = 200,
    max_minutes: Annotated[
        float, typer.Option(metavar="N", min=0.01, help="Longest recording.")
    ] = 10.0,
    max_queries: Annotated[int, typer.Option(metavar="N", min=1, help="Queries at once.")] = 8,
    max_waiting: Annotated[
        int, typer.Option(metavar="N", min=0, help="Requests that may wait in the queue.")
    ] = 16,
    max_per_client: Annotated[
        int, typer.Option(metavar="N", min=1, help="Unfinished requests of one address.")
    ] = 8,
) -> None:
    """Serve a web page and an HTTP API on this machine.

    Recordings do not leave it.
    """
    from clipsep.serving.limits import Limits
    from clipsep.serving.server import Address, serve

    limits = Limits(
        upload_bytes=max_megabytes * 2**20,
        seconds=60 * max_minutes,
        queries=max_queries,
        waiting=max_waiting,
        per_client=max_per_client,
    )
    serve(model, Address(host, port), limits, token, device, query_encoder)
