"""`clipsep push` against a stand-in for the hub, which keeps what is sent."""

from __future__ import annotations

import base64
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from clipsep import ClipsepError, Separator, UsageError
from clipsep.checkpoint import find_checkpoint
from clipsep.cli import main
from clipsep.workflows.hub import push_to_hub, save_pretrained

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub():
    """Address of the stand-in, what repositories were made, and the files that were sent."""
    repositories: list[dict] = []
    files: dict[str, bytes] = {}

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("authorization") != "Bearer secret":
                return self._answer(401, {"error": "no"})
            if self.path == "/api/repos/create":
                repositories.append(json.loads(body))
                return self._answer(200, {"url": f"{address}/me/model"})
            if self.path == "/api/validate-yaml":
                return self._answer(200, {"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                entries = json.loads(body)["files"]
                mode = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                modes = [{"path": one["path"], **mode} for one in entries]
                return self._answer(200, {"files": modes})
            if "/commit/" in self.path:
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        content = entry["value"]["content"]
                        files[entry["value"]["path"]] = base64.b64decode(content)
                commit = {"commitUrl": f"{address}/me/model/commit/1", "commitOid": "1"}
                return self._answer(200, commit)
            return self._answer(404, {"error": "unknown"})

        def do_GET(self) -> None:
            self._answer(200, {"id": "me/model", "siblings": [], "sha": "1"})

        def _answer(self, status: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield address, repositories, files
        server.shutdown()


def test_a_model_is_pushed_whole_with_a_card(hub, tmp_path):
    address, repositories, files = hub
    push_to_hub("mini", "me/model", private=True, license="mit", endpoint=address, token="secret")
    assert "private" in json.dumps(
        repositories[0]
    )  # versions of the client say it in different ways
    source = find_checkpoint("mini")
    for path in source.iterdir():
        assert files[path.name] == path.read_bytes()
    _, about, card = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(about)["license"] == "mit"
    assert yaml.safe_load(about)["library_name"] == "clipsep"
    tags = yaml.safe_load(about)["tags"]
    assert "clipsep" in tags and len(set(tags)) == len(tags)
    assert "# mini" in card
    assert 'from_pretrained("me/model")' in card
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert Separator(tmp_path).config == Separator("mini").config


def test_a_refusal_is_one_sentence(hub):
    with pytest.raises(ClipsepError, match="did not take"):
        push_to_hub("mini", "me/model", endpoint=hub[0], token="wrong")
    with pytest.raises(UsageError, match="owner/name"):
        push_to_hub("mini", "model")


def test_a_model_is_saved_into_a_folder(tmp_path):
    names = [path.name for path in save_pretrained("mini", tmp_path / "copy")]
    assert {"README.md", "config.json", "model.safetensors"} <= set(names)
    assert main(["push", "nothing", "me/model"]) == 2
    assert main(["push", "mini", "my-model", "-o", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_the_folder_may_be_text_or_a_path(tmp_path, kind):
    paths = save_pretrained("mini", kind(tmp_path / "copy"), repository="me/model")
    assert all(path.parent == tmp_path / "copy" for path in paths)
    assert 'from_pretrained("me/model")' in (tmp_path / "copy" / "README.md").read_text()


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ClipsepError, match=f"to {address} failed"):
            push_to_hub("mini", "me/model", endpoint=address, token="secret")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)  # read at its import
        assert main(["push", "mini", "me/model"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("clipsep: error: Sending 'me/model' to") and error.count("\n") == 1
