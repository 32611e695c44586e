"""Stands before all routes: who may ask, how much may be sent, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsep.serving.limits import MIB, Limits

COOKIE = "clipsep_token"
# Open without the token: whether the server lives, and the page with its field for the token.
_OPEN_PATHS = ("/health", "/login", "/")
_OPEN_FOLDER = "/page/"
_OPEN_BYTES = 4096  # of a body without a token: room for a token
_QUEUED_FOLDER = "/v1/"
# How long the rest of an upload is received, and thrown away, after it was refused.
_LINGER_SECONDS = 5.0


class Requests:
    """The requests in progress, which a server that is being stopped ends."""

    def __init__(self) -> None:
        self.stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count the current task as a request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def stop(self) -> None:
        """End them all; the guard gives each its answer."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()


class Guard:
    """ASGI middleware.

    Args:
        app: what stands behind.
        limits: bounds on bodies.
        token: what requests must bring, as "Authorization: Bearer TOKEN" or in the page's cookie.
        hosts: names by which the server may be addressed; None for any. On the loopback
            address this stops other sites from reaching it through a name that points there.
        frame_ancestors: sites that may show the page inside theirs.
        admit: given a client's address before its upload is received; returns a refusal or None.
        requests: where the requests in progress are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        token: str | None = None,
        hosts: Sequence[str] | None = None,
        frame_ancestors: str = "'none'",
        admit: Callable[[str], Response | None] = lambda client: None,
        requests: Requests | None = None,
    ):
        self._app = app
        self._admit = admit
        self._limits = limits
        self._token = token
        self._hosts = hosts
        self._requests = requests or Requests()
        self._receiving = 0
        self._headers = {
            "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; "
            "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
            f"frame-ancestors {frame_ancestors}",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "microphone=(self), camera=(), geolocation=()",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        has_body = scope["method"] in ("POST", "PUT", "PATCH")
        upload = _Upload(receive)
        answer = upload.answer_first(send_with_headers) if has_body else send_with_headers
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, upload, answer)
            return
        bounded = _BoundedBody(upload, self._limits, _is_open(scope["path"]))
        self._receiving += has_body
        bounded.on_end = self._body_ended if has_body else None
        try:
            with self._requests.one():
                await self._app(scope, bounded, answer)
        except asyncio.CancelledError:
            if not self._requests.stopping:
                raise  # whoever cancels a single request wants no answer
            if not answered:  # else the connection ends in the middle of a file
                await being_stopped()(scope, upload, answer)
        finally:
            bounded.end()

    def _body_ended(self) -> None:
        self._receiving -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            return problem(400, f"This server does not answer to the name '{host[:100]}'.")
        origin = headers.get("origin")
        changes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and origin is not None and urlsplit(origin).netloc != host:
            return problem(403, "This server refuses requests from pages of other sites.")
        path = scope["path"]
        if not _is_open(path) and not self._knows_token(headers, Request(scope).cookies):
            return problem(
                401,
                "This server wants a token: send it as 'Authorization: Bearer TOKEN'.",
                {"www-authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.upload_bytes:
            return problem(413, too_large(self._limits), {"connection": "close"})
        if scope["method"] != "POST":
            return None
        if self._receiving >= self._limits.uploads:
            return problem(
                503,
                "The server is receiving too many uploads: try again soon.",
                {"retry-after": "5"},
            )
        # Refused before the upload is received, not after.
        return self._admit(client_of(scope)) if path.startswith(_QUEUED_FOLDER) else None

    def _knows_token(self, headers: Headers, cookies: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = cookies.get(COOKIE, "")
        return is_token(given, self._token)


class _Upload:
    """A `receive` that knows whether the whole body has come."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self._complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._complete = True
        return message

    def answer_first(self, send: Send) -> Send:
        """Make a `send` that reads on for a while after an answer to a body that is still coming.

        A connection that is closed while data come in is reset, and the client may then lose
        the answer that says why.
        """

        async def send_and_linger(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if not is_last or self._complete:
                await send(message)
                return
            await send({**message, "more_body": True})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._discard(), _LINGER_SECONDS)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return send_and_linger

    async def _discard(self) -> None:
        while not self._complete:
            await self()


class _BoundedBody:
    """A `receive` that ends a body that is too large or too slow."""

    def __init__(self, receive: Receive, limits: Limits, is_open: bool):
        self._receive = receive
        self._limits = limits
        self._most, self._too_large = limits.upload_bytes, too_large(limits)
        if is_open:
            self._most, self._too_large = _OPEN_BYTES, "The request is too large for this address."
        self._received = 0
        self._until = time.monotonic() + limits.upload_seconds
        self._complete = False
        self.on_end: Callable[[], None] | None = None

    def end(self) -> None:
        """Note that the body is complete, or that nobody wants the rest."""
        self._complete = True
        if self.on_end is not None:
            self.on_end()
            self.on_end = None

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()  # waits for the client to go away
        seconds = min(self._limits.idle_seconds, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, seconds))
        except asyncio.TimeoutError:
            raise HTTPException(
                408, "The upload was too slow: try a better connection, or a smaller file."
            ) from None
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise HTTPException(413, self._too_large)
        if not message.get("more_body", False):
            self.end()
        return message


def is_token(given: str, token: str | None) -> bool:
    """Whether a text is the server's token, or the server has none; takes as long either way."""
    return token is None or secrets.compare_digest(given.encode(), token.encode())


def problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Make an answer that says in one sentence what is wrong."""
    return JSONResponse({"detail": sentence}, status, headers)


def being_stopped() -> JSONResponse:
    """Answer for whatever a server that is being stopped cannot finish."""
    return problem(503, "The server is being stopped: try again later.", {"retry-after": "30"})


def too_large(limits: Limits) -> str:
    """Write the sentence for a body over the limit."""
    return (
        f"The upload is larger than the {limits.upload_bytes / MIB:g} MiB that this server takes."
    )


def _is_open(path: str) -> bool:
    """Whether anybody may ask for it, without the token."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)


def _host_name(host: str) -> str:
    """Without the port: "[::1]:7860" is "[::1]"."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def client_of(scope: Scope) -> str:
    """Address of the client, without the port."""
    return scope["client"][0] if scope.get("client") else ""
