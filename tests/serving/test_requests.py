"""What requests of `clipsep serve` may hold, and what is said of texts, levels and files that went."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from clipsep import Separator
from clipsep.serving.api.answers import JobFile
from clipsep.serving.work.queue import Removed
from tests.serving.conftest import EXAMPLE, Server, tone
from tests.serving.test_api import finished

SOUND = {"file": ("a.wav", tone())}


def test_familiarity_is_that_of_python(client: httpx.Client) -> None:
    texts = ["Geige", "theremin", "quarterly report"]
    answer = client.get("/v1/familiarity", params={"query": texts})
    told = Separator().encode(texts).familiarity
    assert answer.json() == [
        {"query": text, "familiarity": one.level, "nearest_known": list(one.nearest)}
        for text, one in zip(texts, told, strict=True)
    ]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "query: Field required"),
        ([" "], "empty"),
        (["x" * 201], "201 characters"),
        (["a", "b", "c", "d"], "4 queries"),
        (["rain", "rain"], "twice"),
        (["/etc/secret.png"], "looks like a file"),
    ],
)
def test_familiarity_refuses_what_a_separation_refuses(
    client: httpx.Client, texts: list[str], words: str
) -> None:
    answer = client.get("/v1/familiarity", params={"query": texts})
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.parametrize("address", ["/v1/separate", "/v1/jobs", "/v1/find"])
def test_a_field_that_an_address_does_not_have_is_named(client: httpx.Client, address: str) -> None:
    data = {"query": "rain", "sensitvity": "0.9"}
    answer = client.post(address, files=SOUND, data=data)
    assert answer.status_code == 422
    assert "'sensitvity'" in answer.json()["detail"]
    assert "sensitivity" in answer.json()["detail"]


def test_what_is_no_file_and_what_is_no_number_is_said_in_plain_words(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs", data={"file": "a.wav", "query": "rain"})
    assert answer.json()["detail"] == "file: send the recording as a file, not as text."
    answer = client.post("/v1/jobs", files=SOUND, data={"image": "bell.jpg"})
    assert answer.json()["detail"] == "image.0: send images as files, not as text."
    answer = client.post("/v1/jobs", files=SOUND, data={"query": "rain", "sensitivity": "nan"})
    assert answer.json()["detail"] == "sensitivity: Input should be a finite number."


def test_a_job_that_finds_says_what_find_says(client: httpx.Client) -> None:
    data = {"query": "violin", "sensitivity": "0.6"}
    found = client.post("/v1/find", files={"file": EXAMPLE.open("rb")}, data=data).json()
    data["find"] = "true"
    job = client.post("/v1/jobs", files={"file": EXAMPLE.open("rb")}, data=data).json()
    status = finished(client, job["id"])
    assert (status["found"], status["parts"]) == (found, [])
    at = f"/v1/jobs/{job['id']}"
    assert client.get(f"{at}/parts/0").status_code == 409
    assert client.delete(at).status_code == 204
    # Without queries: the known sounds.
    job = client.post("/v1/jobs", files=SOUND, data={"find": "true"})
    assert finished(client, job.json()["id"])["state"] == "done"


def loud(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """A WAV file of floats, twice as loud as full scale."""
    samples = 2 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_a_mix_beyond_full_scale_is_lowered_as_a_whole_and_parts_are_counted(
    client: httpx.Client,
) -> None:
    job = client.post("/v1/jobs", files={"file": ("a.wav", loud())}, data={"query": "rain"}).json()
    at = f"/v1/jobs/{finished(client, job['id'])['id']}"

    def samples(address: str, **params: object) -> np.ndarray:
        return soundfile.read(io.BytesIO(client.get(at + address, params=params).content))[0]

    gains = [3, 3]
    exact, flac = (samples("/mix", gain=gains, format=format) for format in ("wav", "flac"))
    assert np.abs(exact).max() > 2
    np.testing.assert_allclose(flac, exact / np.abs(exact).max(), atol=1e-5)
    quiet = [-40, -40]  # what fits keeps its level
    exact, flac = (samples("/mix", gain=quiet, format=format) for format in ("wav", "flac"))
    np.testing.assert_allclose(flac, exact, atol=1e-5)

    for format in ("wav", "flac"):
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"{at}/archive?format={format}").content))
        parts = json.loads(archive.read("report.json"))["parts"]
        for number, part in enumerate(parts):
            beyond = int((np.abs(samples(f"/parts/{number}")) > 1).sum())
            assert part["clipped_samples"] == (0 if format == "wav" else beyond)
        assert beyond > 0
    client.delete(at)


def test_files_that_are_gone_from_the_disk_are_404(client: httpx.Client, server: Server) -> None:
    job = client.post("/v1/jobs", files=SOUND, data={"query": "rain"}).json()
    at = f"/v1/jobs/{finished(client, job['id'])['id']}"
    for name in server.left_over():
        shutil.rmtree(next(server.temporary.glob(f"clipsep-serve-*/{name}")))
    assert not server.left_over()
    for address in ("parts/0", "parts/0?format=flac", "parts/1/spectrogram", "archive"):
        answer = client.get(f"{at}/{address}")
        assert (answer.status_code, bool(answer.json()["detail"])) == (404, True), address
    assert not server.left_over()
    client.delete(at)


@pytest.mark.parametrize("known_size", [False, True])
def test_a_file_that_goes_before_it_is_open_is_refused_before_anything_is_sent(
    tmp_path: Path, known_size: bool
) -> None:
    path = tmp_path / "part.wav"
    path.write_bytes(b"sound")
    answer = JobFile(path, stat_result=path.stat() if known_size else None)
    path.unlink()
    sent = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "headers": []}
    with pytest.raises(Removed):
        asyncio.run(answer(scope, receive, send))
    assert not sent
