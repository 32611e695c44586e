"""What stands before all routes, in this process: bodies without a token, busy threads, cancellations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
fastapi = pytest.importorskip("fastapi")

from starlette.types import ASGIApp  # noqa: E402

from clipsep import Separator  # noqa: E402
from clipsep.serving.app import build_app  # noqa: E402
from clipsep.serving.guard import Guard, Requests  # noqa: E402
from clipsep.serving.limits import Limits  # noqa: E402
from clipsep.serving.work import parts  # noqa: E402
from tests.serving.conftest import tone  # noqa: E402


@pytest.fixture
def app(tmp_path: Path) -> Iterator[fastapi.FastAPI]:
    app = build_app(Separator(), token="correct horse", temporary=tmp_path)
    yield app
    app.state.queue.close()


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    bearer = {"authorization": "Bearer correct horse"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer)


def test_a_body_without_a_token_is_small(app: fastapi.FastAPI) -> None:
    async def content(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)  # without a length in the head

    async def login(size: int) -> int:
        async with client_of(app) as client:
            return (await client.post("/login", content=content(size))).status_code

    assert [asyncio.run(login(size)) for size in (4096, 4097)] == [401, 413]


def test_health_is_known_while_all_files_are_being_made(
    app: fastapi.FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(parts, "_mix", lambda *arguments: go_on.wait(30))
    client = client_of(app)

    async def mixes_and_health() -> list[int]:
        sound = {"file": ("a.wav", tone())}
        job = (await client.post("/v1/jobs", files=sound, data={"query": "rain"})).json()["id"]
        while (await client.get(f"/v1/jobs/{job}")).json()["state"] != "done":
            await asyncio.sleep(0.05)
        busy = [
            asyncio.create_task(client.get(f"/v1/jobs/{job}/mix?gain={gain}&gain=0"))
            for gain in range(-50, 0)
        ]
        await asyncio.sleep(0.5)
        answers = [
            await asyncio.wait_for(client.get(address), 10)
            for address in ("/health", f"/v1/jobs/{job}", f"/v1/jobs/{job}/parts/0")
        ]
        for task in busy:
            task.cancel()
        go_on.set()
        await asyncio.gather(*busy, return_exceptions=True)
        return [answer.status_code for answer in answers]

    try:
        assert asyncio.run(mixes_and_health()) == [200] * 3
    finally:
        go_on.set()


def test_only_a_stop_answers_a_cancelled_request() -> None:
    async def slow(scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(60)

    async def ask(stops: bool) -> int:
        requests = Requests()
        client = client_of(Guard(slow, Limits(), requests=requests))
        async with client:
            if stops:
                asyncio.get_running_loop().call_later(0.1, requests.stop)
            answer = await asyncio.wait_for(client.get("/health"), 20 if stops else 0.1)
            return answer.status_code

    assert asyncio.run(ask(stops=True)) == 503
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask(stops=False))
