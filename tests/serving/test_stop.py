"""How a server ends: what requests in flight get, and what its log and its first line say."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from clipsep.serving.server import Address, _announce
from tests.serving.conftest import start_server, tone

IMPATIENT = """
from clipsep.serving.limits import Limits
from clipsep.serving.server import Address, serve

serve("mini", Address(port=0), Limits(shutdown_seconds=0.5))
"""


def test_requests_that_a_stopped_server_cannot_finish_get_one_sentence(tmp_path: Path) -> None:
    """One runs, one waits, and the third is still being sent."""
    with (tmp_path / "log").open("wb") as log:
        server = start_server(tmp_path, program=IMPATIENT, log=log)
    answers: list[httpx.Response] = []

    def ask(address: str) -> None:
        files, data = {"file": ("a.wav", tone(500.0))}, {"query": ["rain", "violin", "dog barking"]}
        answers.append(httpx.post(server.url + address, files=files, data=data, timeout=60))

    asking = [threading.Thread(target=ask, args=(f"/v1/{name}",)) for name in ("separate", "find")]
    try:
        at = urlsplit(server.url)
        with socket.create_connection((at.hostname, at.port), timeout=60) as sending:
            head = (
                "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x"
            )
            sending.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: {at.netloc}\r\n{head}".encode())
            for thread in asking:
                thread.start()
            for _ in range(600):
                busy = httpx.get(f"{server.url}/health").json()
                if (busy["running"], busy["waiting"]) == (1, 1):
                    break
                time.sleep(0.05)
            assert (busy["running"], busy["waiting"]) == (1, 1)
            server.stop()
            third = b"".join(iter(lambda: sending.recv(65_536), b""))
        for thread in asking:
            thread.join(60)
    finally:
        server.process.kill()
    sentence = "The server is being stopped: try again later."
    assert [(one.status_code, one.json()["detail"]) for one in answers] == [(503, sentence)] * 2
    assert all(int(one.headers["retry-after"]) > 0 for one in answers)
    assert third.startswith(b"HTTP/1.1 503 ") and sentence.encode() in third
    assert (tmp_path / "log").read_text() == ""
    assert not list(tmp_path.glob("clipsep-serve-*"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_on_all_addresses_says_so(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    _announce(Address(host, 7861), protected=True)
    assert "all other addresses of this machine, port 7861" in capsys.readouterr().out
    _announce(Address(port=7861), protected=True)
    assert "all other" not in capsys.readouterr().out
