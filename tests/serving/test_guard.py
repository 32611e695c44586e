"""What stands before all routes, in this process: bodies without a token, busy threads, cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
fastapi = pytest.importorskip("fastapi")

from clipsep import Separator  # noqa: E402
from clipsep.serving.app import build_app  # noqa: E402


@pytest.fixture
def app(tmp_path: Path) -> Iterator[fastapi.FastAPI]:
    app = build_app(Separator(), token="correct horse", temporary=tmp_path)
    yield app
    app.state.queue.close()


def client_of(app: fastapi.FastAPI) -> httpx.AsyncClient:
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
