"""Loads a model and serves it until the process is stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from clipsep import ClipsepError, Separator, UsageError
from clipsep.serving.app import build_app
from clipsep.serving.limits import Limits

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7860
# Beyond this many connections the server answers 503 without looking at them.
_CONNECTIONS = 256
# Between the end of requests that take too long to finish and that of their connections: enough for
# the answers, also to clients that still send (see the guard).
_SECONDS_TO_ANSWER = 6


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return f"http://{host}:{self.port}"


def serve(
    model: str | Path = "mini",
    address: Address | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    device: str = "auto",
    query_encoder: str | None = None,
    frame_ancestors: str = "'none'",
) -> None:
    """Serve the page and the API until the process gets SIGINT or SIGTERM.

    Requests that run then get `Limits.shutdown_seconds` to finish, and after that the answer 503; all
    temporary files are removed.

    Args:
        model: name, folder or hub id, as for `Separator.from_pretrained`.
        token: what requests must bring; see `build_app`.
        device, query_encoder: see `Separator.from_pretrained`.
        frame_ancestors: see `build_app`.

    Raises:
        UsageError, ClipsepError: for a bad model, host, port or token.
    """
    import uvicorn

    address, limits = address or Address(), limits or Limits()
    if token is not None and len(token) < 8:
        raise UsageError(
            "The token is too short: use at least 8 characters, so that nobody can guess it."
        )
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(
            "The token has characters that a web request cannot carry: use ASCII letters, digits and signs."
        )
    listening = _listen(address)
    try:
        separator = Separator.from_pretrained(model, device, query_encoder)
        separator.encode(["a sound"])  # loads the encoder, so that the first request is not slow
        local = ("127.0.0.1", "localhost", "[::1]", address.host)
        app = build_app(
            separator, limits, token, local if address.is_loopback else None, frame_ancestors
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=math.ceil(limits.shutdown_seconds) + _SECONDS_TO_ANSWER,
        )
        # Port 0 lets the system choose one.
        address = Address(address.host, listening.getsockname()[1])

        at, patience = address, limits.shutdown_seconds

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                _announce(at, protected=token is not None)

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                loop = asyncio.get_running_loop()
                end = loop.call_later(patience, app.state.requests.stop)
                await super().shutdown(sockets)
                end.cancel()

        Server(config).run(sockets=[listening])
    finally:
        listening.close()


def _announce(address: Address, protected: bool) -> None:
    """Once the server answers, and can be stopped cleanly."""
    everywhere = address.host in ("0.0.0.0", "::", "[::]")
    where = f" and all other addresses of this machine, port {address.port}" if everywhere else ""
    said = f"clipsep is at {address.url}{where} (API: {address.url}/docs). Ctrl-C stops it."
    print(said, flush=True)
    if not address.is_loopback and not protected:
        print("Anyone who can reach this address can use it: --token sets a password.", flush=True)


def _listen(address: Address) -> socket.socket:
    """Open the listening socket, before a model is loaded for nothing."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(f"'{address.host}' is not an address of this machine.") from error
    listening = socket.socket(family, kind)
    try:
        if os.name == "posix":  # on Windows it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
    except OSError as error:
        listening.close()
        raise ClipsepError(
            f"Cannot listen on {address.host}:{address.port} ({error.strerror}): choose another port "
            "with --port, or stop the program that uses it."
        ) from error
    return listening
