"""The web application: which addresses there are, and what goes in and comes out of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from clipsep import ClipsepError, Separator, __version__
from clipsep.serving.api import add_routes
from clipsep.serving.guard import COOKIE, Guard, Requests, is_token, problem
from clipsep.serving.limits import Limits
from clipsep.serving.work.queue import Busy, JobQueue, Removed, TimeIsUp

PAGE = Path(__file__).with_name("page")
# In a wheel it is beside this file, in a clone where everybody finds it.
EXAMPLES = (
    Path(__file__).with_name("example.flac"),
    Path(__file__).parents[3] / "examples" / "speech-and-violin.flac",
)


def build_app(
    separator: Separator,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
    frame_ancestors: str = "'none'",
    temporary: Path | None = None,
) -> FastAPI:
    """Build the page and the API around one loaded model, as an ASGI application.

    Args:
        limits: bounds on what the server takes.
        token: what requests must bring; with None, anyone who can reach the server can use it.
        hosts: names by which the server may be addressed; None for any.
        frame_ancestors: sites that may show the page inside theirs, as in a content security policy.
        temporary: folder for uploads and results; by default the system's.
    """
    limits = limits or Limits()
    queue, requests = JobQueue(limits, temporary), Requests()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(
        title="clipsep",
        version=__version__,
        description="Separate the sounds that texts name, or images show, out of a recording.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page of documentation loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    _add_errors(app)
    add_routes(app, separator, queue, limits)
    _add_page(app, token)

    def admit(client: str) -> Response | None:
        try:
            queue.check_room(client)
        except Busy as error:
            return _busy(error)
        return None

    app.add_middleware(
        Guard,
        limits=limits,
        token=token,
        hosts=hosts,
        frame_ancestors=frame_ancestors,
        admit=admit,
        requests=requests,
    )
    app.state.queue, app.state.requests = queue, requests
    return app


def _add_errors(app: FastAPI) -> None:
    """Every failure is one sentence in "detail", and none shows the inside of the server."""

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["allow"] = ", ".join(_methods_of(app, request.url.path))
        return problem(error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        if "Expected UploadFile" in first["msg"]:
            what = "images as files" if where.startswith("image") else "the recording as a file"
            return problem(422, f"{where}: send {what}, not as text.")
        reason = first["msg"].removeprefix("Value error, ")
        return problem(422, f"{where or 'The request'}: {reason}.")

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> Response:
        return _busy(error)

    @app.exception_handler(TimeIsUp)
    async def time_is_up(_: Request, error: TimeIsUp) -> Response:
        return problem(504, str(error))

    @app.exception_handler(Removed)
    async def removed(_: Request, error: Removed) -> Response:
        return problem(404, str(error))

    @app.exception_handler(ClipsepError)
    async def refused(_: Request, error: ClipsepError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return problem(500, "The server failed at this request; its log says why.")


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """Methods of all routes of a path; the framework names those of the first one only."""
    paths = app.openapi()["paths"]
    for template, operations in paths.items():
        if compile_path(template)[0].match(path):
            return sorted(method.upper() for method in operations)
    return ["GET"]


def _busy(error: Busy) -> Response:
    status = 429 if error.by_client else 503
    return problem(status, str(error), {"retry-after": str(error.retry_seconds)})


def _add_page(app: FastAPI, token: str | None) -> None:
    app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return FileResponse(PAGE / "docs.html")

    @app.get("/example", include_in_schema=False)
    def example() -> Response:
        path = next((path for path in EXAMPLES if path.is_file()), None)
        if path is None:
            raise HTTPException(404, "The example is not installed here.")
        return FileResponse(path, media_type="audio/flac")

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        """Keep the token in a cookie that scripts cannot read: players send no header."""
        given = (await request.body()).decode(errors="replace").strip()
        if not is_token(given, token):
            return problem(401, "This is not the token of this server.")
        answer = Response(status_code=204)
        if token is not None:  # else anything is right, and need not be text that a cookie can hold
            answer.set_cookie(COOKIE, given, httponly=True, samesite="strict")
        return answer
