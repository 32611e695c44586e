"""What a program that speaks HTTP gets from `clipsep serve`."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsep import Separator, UsageError
from clipsep.media import read_audio
from clipsep.serving.server import serve
from clipsep.serving.work.parts import _made
from clipsep.serving.work.queue import Removed
from tests.serving.conftest import EXAMPLE, Server, start_server, tone


def finished(client: httpx.Client, job_id: str) -> dict:
    for _ in range(600):
        status = client.get(f"/v1/jobs/{job_id}").json()
        if status["state"] in ("done", "failed", "cancelled"):
            return status
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def wait_until_clean(server: Server) -> None:
    for _ in range(100):
        if not server.left_over():
            return
        time.sleep(0.05)
    raise AssertionError(server.left_over())


def png(size: tuple[int, int] = (32, 24)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "brown").save(file, format="PNG")
    return file.getvalue()


def test_one_query_gives_the_very_samples_of_the_python_call(
    client: httpx.Client, server: Server
) -> None:
    answer = client.post(
        "/v1/separate", files={"file": EXAMPLE.open("rb")}, data={"query": "violin"}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    assert 'filename="speech-and-violin.violin.wav"' in answer.headers["content-disposition"]
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    mixture, mixture_rate = read_audio(EXAMPLE)
    expected = Separator.from_pretrained("mini").separate(mixture, mixture_rate, ["violin"])
    assert rate == mixture_rate
    np.testing.assert_allclose(samples.T, expected.targets["violin"], atol=1e-5)
    wait_until_clean(server)


def test_several_queries_give_an_archive_whose_parts_add_up(client: httpx.Client) -> None:
    sound = tone(2.0, 22_050, channels=2)
    answer = client.post(
        "/v1/separate",
        files=[("file", ("a b.wav", sound)), ("image", ("../../x.png", png()))],
        data={"query": ["violin", "rain"], "residual": "true"},
    )
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = archive.namelist()
    assert names == [
        *("a-b.violin.wav", "a-b.rain.wav", "a-b.image-1.wav", "a-b.residual.wav", "report.json")
    ]
    total = sum(soundfile.read(io.BytesIO(archive.read(name)))[0] for name in names[:-1])
    mixture = soundfile.read(io.BytesIO(sound))[0]
    np.testing.assert_allclose(total, mixture, atol=1e-5)
    report = json.loads(archive.read("report.json"))
    assert [part["kind"] for part in report["parts"]] == [
        *("mixture", "target", "target", "target", "residual")
    ]


def test_a_job_hands_out_its_parts_and_goes_when_it_is_deleted(
    client: httpx.Client, server: Server
) -> None:
    job = client.post("/v1/jobs", files={"file": ("a.wav", tone())}, data={"query": "rain"})
    assert job.status_code == 202
    status = finished(client, job.json()["id"])
    assert status["state"] == "done" and status["progress"] == 1
    at = f"/v1/jobs/{status['id']}"
    parts = [
        soundfile.read(io.BytesIO(client.get(f"{at}/parts/{number}").content))[0]
        for number in range(3)
    ]
    np.testing.assert_allclose(parts[1] + parts[2], parts[0], atol=1e-6)
    flac = client.get(f"{at}/parts/1", params={"format": "flac"})
    assert flac.content[:4] == b"fLaC"
    picture = Image.open(io.BytesIO(client.get(f"{at}/parts/0/spectrogram").content))
    assert picture.height == 256
    # A player asks for pieces.
    piece = client.get(f"{at}/parts/0", headers={"range": "bytes=0-3"})
    assert (piece.status_code, piece.content) == (206, b"RIFF")
    assert client.get(f"{at}/parts/3").status_code == 404
    assert client.get(f"{at}/archive").content[:2] == b"PK"
    assert client.delete(at).status_code == 204
    assert client.get(at).status_code == 404
    wait_until_clean(server)


def test_a_mix_adds_the_parts_at_their_gains(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", files={"file": ("a.wav", tone())}, data={"query": "rain"}).json()
    at = f"/v1/jobs/{finished(client, job['id'])['id']}"
    _, target, residual = (
        soundfile.read(io.BytesIO(client.get(f"{at}/parts/{number}").content))[0]
        for number in range(3)
    )
    mix = client.get(f"{at}/mix", params={"gain": [6, -60]})
    mixed = soundfile.read(io.BytesIO(mix.content))[0]
    np.testing.assert_allclose(mixed, 10 ** (6 / 20) * target, atol=1e-6)
    mix = client.get(f"{at}/mix", params={"gain": [-60, 0]})
    np.testing.assert_allclose(soundfile.read(io.BytesIO(mix.content))[0], residual, atol=1e-6)
    assert client.get(f"{at}/mix", params={"gain": [0]}).status_code == 422
    assert client.get(f"{at}/mix", params={"gain": [0, 99]}).status_code == 422
    client.delete(at)


@pytest.mark.parametrize(
    ("sound", "data", "code", "words"),
    [
        (b"", {"query": "rain"}, 422, "empty"),
        (b"not a sound", {"query": "rain"}, 422, "not a sound or video file"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", {"query": "rain"}, 422, "not a sound"),
        (tone(), {}, 422, "no query"),
        (tone(), {"query": " "}, 422, "empty"),
        (tone(), {"query": "x" * 201}, 422, "201 characters"),
        (tone(), {"query": ["a", "b", "c", "d"]}, 422, "4 queries"),
        (tone(), {"query": ["rain", "rain"]}, 422, "twice"),
        (tone(), {"query": "/etc/secret.png"}, 422, "looks like a file"),
        (tone(), {"query": "rain", "format": "exe"}, 422, "format"),
        (tone(31, 8000), {"query": "rain"}, 422, "0.5 minutes"),
        (tone(0.01), {"query": "rain"}, 422, "too short"),
        (tone(30, 48_000, 2), {"query": "rain"}, 413, "4 MiB"),
    ],
)
def test_a_bad_request_gets_one_sentence_and_leaves_nothing(
    client: httpx.Client, server: Server, sound: bytes, data: dict, code: int, words: str
) -> None:
    answer = client.post("/v1/separate", files={"file": ("a.wav", sound)}, data=data)
    assert (answer.status_code, words in answer.json()["detail"]) == (code, True), answer.text
    assert str(server.temporary) not in answer.text
    wait_until_clean(server)


def test_a_bad_image_gets_one_sentence(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/separate", files=[("file", ("a.wav", tone())), ("image", ("a.png", b"no"))]
    )
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "Cannot read the image 'Image 1': it is damaged, or of another format."
    )


def test_a_body_without_a_length_is_cut_off_at_the_limit(server: Server) -> None:
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(64):
            yield bytes(2**20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        try:
            answer = client.post("/v1/separate", content=endless(), headers=headers)
        except httpx.TransportError:  # the server hung up while we sent
            return
        assert answer.status_code == 413


@pytest.mark.parametrize("expects", ["", "Expect: 100-continue\r\n"])
def test_a_client_that_sends_all_before_it_reads_still_gets_the_refusal(
    server: Server, expects: str
) -> None:
    body = bytes(8 * 2**20)
    head = f"POST /v1/separate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{expects}\r\n"
    address = urlsplit(server.url)
    for _ in range(10):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 413 ") and answer.endswith(b'takes."}')


def test_pages_of_other_sites_and_other_names_are_refused(client: httpx.Client) -> None:
    other = client.post("/v1/jobs", headers={"origin": "http://evil.example"})
    assert other.status_code == 403
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 400
    allowed = client.get("/v1/models", headers={"origin": "http://evil.example"})
    assert "access-control-allow-origin" not in allowed.headers


def test_without_a_token_any_login_is_right_and_leaves_no_cookie(client: httpx.Client) -> None:
    for content in (b"anything", b"\xff\xfe", b""):
        answer = client.post("/login", content=content)
        assert (answer.status_code, "set-cookie" in answer.headers) == (204, False)


@pytest.mark.parametrize("token", ["short", "pässword", "pass\nword"])
def test_a_token_that_cannot_serve_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="The token"):
        serve("mini", token=token)


def test_the_server_says_what_it_is_and_takes(client: httpx.Client) -> None:
    assert client.get("/health").json()["status"] == "ok"
    first = client.get("/v1/models").json()[0]
    assert (first["name"], first["loaded"]) == ("mini", True)
    assert client.get("/v1/limits").json()["seconds"] == 30
    assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("address", "seconds"),
    [("separate", 0.3), ("jobs", 0.0)],  # where jobs are kept, the client goes before its answer
)
def test_a_client_that_hangs_up_leaves_nothing(
    client: httpx.Client, server: Server, address: str, seconds: float
) -> None:
    at = urlsplit(server.url)
    body = b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\nrain\r\n'
    body += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body += tone(20.0) + b"\r\n--x--\r\n"
    for sent in (len(body) // 2, len(body)):
        with socket.create_connection((at.hostname, at.port)) as connection:
            head = (
                f"POST /v1/{address} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:sent])
            time.sleep(seconds)
        time.sleep(1.0)  # until the server has read what came
    wait_until_clean(server)


def test_token_queue_and_stop(tmp_path: Path) -> None:
    """One server of its own: its token, its queue of one, SIGKILL and what the next start finds."""
    options = ("--token", "correct horse", "--max-waiting", "1", "--max-per-client", "3")
    server = start_server(tmp_path, *options)
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/v1/models").status_code == 401
            assert client.post("/login", content="wrong").status_code == 401
            assert client.post("/login", content="correct horse").status_code == 204
            assert client.get("/v1/models").status_code == 200  # by the cookie
        bearer = {"authorization": "Bearer correct horse"}
        with httpx.Client(base_url=server.url, timeout=60, headers=bearer) as client:
            files, data = {"file": ("a.wav", tone(60.0))}, {"query": "rain"}
            answers = [client.post("/v1/jobs", files=files, data=data) for _ in range(4)]
            codes = [answer.status_code for answer in answers]
            assert codes[:2] == [202, 202] and codes[-1] in (429, 503)
            assert int(answers[-1].headers["retry-after"]) > 0
            statuses = [client.get(f"/v1/jobs/{answers[1].json()['id']}").json()]
            assert statuses[0]["ahead"] >= 1 or statuses[0]["state"] != "waiting"
        server.stop(signal.SIGKILL)
        assert list(tmp_path.glob("clipsep-serve-*"))
        server = start_server(tmp_path)
        assert len(list(tmp_path.glob("clipsep-serve-*"))) == 1
        server.stop(signal.SIGTERM)
        assert not list(tmp_path.glob("clipsep-serve-*"))
    finally:
        server.process.kill()


def test_find_gives_spans_and_without_queries_the_known_sounds(
    client: httpx.Client, server: Server
) -> None:
    answer = client.post(
        "/v1/find",
        files={"file": EXAMPLE.open("rb")},
        data={"query": ["violin"], "sensitivity": "0.6"},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["seconds"] == pytest.approx(11.5, abs=0.01)
    (sound,) = found["sounds"]
    assert sound["query"] == "violin" and sound["spans"]
    assert all(0 <= span["start"] < span["end"] <= 11.6 for span in sound["spans"])
    known = client.get("/v1/models").json()[0]["known_sounds"]
    short = {"file": tone(2.0, 16_000)}
    answer = client.post("/v1/find", files=short)
    assert answer.status_code == (200 if known else 422)
    assert client.post("/v1/find", files=short, data={"sensitivity": "7"}).status_code == 422
    wait_until_clean(server)


def test_a_part_says_what_the_model_thinks_of_its_query(client: httpx.Client) -> None:
    data = {"query": "violin", "sensitivity": "0.9"}
    job = client.post("/v1/jobs", files={"file": EXAMPLE.open("rb")}, data=data).json()
    target = finished(client, job["id"])["parts"][1]
    mixture, rate = read_audio(EXAMPLE)
    expected = Separator().separate(mixture, rate, ["violin"], sensitivity=0.9)
    said = expected.feedback["violin"].as_dict()
    for name in ("familiarity", "nearest_known"):
        assert target[name] == said[name]
    assert target["confidence"] == pytest.approx(said["confidence"], abs=1e-3)
    samples = soundfile.read(io.BytesIO(client.get(f"/v1/jobs/{job['id']}/parts/1").content))[0]
    np.testing.assert_allclose(samples.T, expected.targets["violin"], atol=1e-5)


def test_a_job_that_is_removed_while_a_file_is_made_of_it_is_gone(tmp_path: Path) -> None:
    """A user who leaves the page while a spectrogram is drawn: 404, not a failure of the server."""
    folder = tmp_path / "job"
    folder.mkdir()

    def leave(path: Path) -> None:
        shutil.rmtree(folder)
        path.write_bytes(b"too late")

    with pytest.raises(Removed):
        _made(folder / "part.png", leave)
    assert not folder.exists()
    folder.mkdir()
    (folder / "mixture.wav").touch()
    with pytest.raises(IsADirectoryError):  # any other failure stays what it is
        _made(folder / "part.png", lambda path: folder.read_bytes())
