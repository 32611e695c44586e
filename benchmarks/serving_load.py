"""Many clients at once on `clipsep serve`: valid, slow, broken, oversized and disconnecting ones.

    python benchmarks/serving_load.py --seconds 600 --clients 50

Prints JSON: what was answered to whom, wrong answers, the server's memory after warm-up and at the
end, the files left over, and how it stopped on SIGTERM with requests in flight. Exit code 1 if a
promise is broken.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile

KINDS = ("valid", "slow", "broken", "oversized", "disconnecting")
PROMISED = {
    "valid": {200, 429, 503},
    "slow": {200, 408, 429, 503},
    "broken": {422, 429, 503},
    "oversized": {413, 429, 503},
}
LIMIT_MIB = 4


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """Make a WAV file of 16 bits."""
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


class Load:
    """The clients and what they got."""

    def __init__(self, url: str, seconds: float):
        self.url = url
        self.until = time.monotonic() + seconds
        self.answers: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def client(self, number: int) -> None:
        """One client after another in this thread, until the time is over."""
        chance = random.Random(number)
        while time.monotonic() < self.until:
            kind = KINDS[number % len(KINDS)]
            try:
                if kind == "disconnecting":
                    self._hang_up(chance)
                    outcome = "hung up"
                else:
                    outcome = str(self._post(kind, chance))
            except httpx.TransportError as error:
                outcome = type(error).__name__
                if kind in ("valid", "broken"):
                    self._note_wrong(f"{kind}: {error!r}")
            with self._lock:
                self.answers[f"{kind} {outcome}"] += 1
            time.sleep(chance.uniform(0.1, 1.0))

    def _note_wrong(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def _post(self, kind: str, chance: random.Random) -> int:
        seconds = chance.uniform(0.5, 5.0)
        sound = {"broken": b"RIFF nothing", "oversized": bytes((LIMIT_MIB + 1) * 2**20)}.get(
            kind, tone(seconds)
        )
        with httpx.Client(base_url=self.url, timeout=120) as client:
            request = client.build_request(
                "POST", "/v1/separate", files={"file": ("a.wav", sound)}, data={"query": "rain"}
            )
            body = request.read()
            if kind == "slow":
                pieces = [body[i : i + 8192] for i in range(0, len(body), 8192)]

                def drip():
                    for piece in pieces:
                        time.sleep(0.05)
                        yield piece

                headers = {"content-type": request.headers["content-type"]}
                answer = client.post("/v1/separate", content=drip(), headers=headers)
            else:
                answer = client.send(request)
        if answer.status_code not in PROMISED[kind]:
            self._note_wrong(f"{kind}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code in (429, 503) and "retry-after" not in answer.headers:
            self._note_wrong(f"{kind}: {answer.status_code} without Retry-After")
        elif answer.status_code == 200:
            expected = soundfile.info(io.BytesIO(sound)).frames
            if soundfile.info(io.BytesIO(answer.content)).frames != expected:
                self._note_wrong(f"{kind}: not {expected} samples")
        return answer.status_code

    def _hang_up(self, chance: random.Random) -> None:
        at = urlsplit(self.url)
        body = b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\nrain\r\n'
        body += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body += tone(5.0) + b"\r\n--x--\r\n"
        head = (
            f"POST /v1/separate HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        try:
            with socket.create_connection((at.hostname, at.port), timeout=30) as connection:
                connection.sendall(head.encode() + body[: chance.randrange(len(body) + 1)])
                time.sleep(chance.uniform(0.0, 1.0))
        except OSError:
            pass  # the server refused before we hung up


def resident_mib(process_id: int) -> float:
    """Memory of a process (Linux)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def main() -> int:
    """Run the load and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options = ["--max-megabytes", str(LIMIT_MIB), "--max-per-client", "12"]
        server = subprocess.Popen(
            [sys.executable, "-m", "clipsep", "serve", "--port", "0", *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
        )
        url = re.search(r"http://\S+:\d+", server.stdout.readline())[0]
        load = Load(url, arguments.seconds)
        threads = [
            threading.Thread(target=load.client, args=(number,))
            for number in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(arguments.seconds / 4)
        warm = resident_mib(server.pid)
        time.sleep(max(0.0, load.until - time.monotonic()))
        end = resident_mib(server.pid)
        for thread in threads:
            thread.join()
        time.sleep(2)
        left = [path.name for path in Path(temporary).glob("clipsep-serve-*/*")]
        left.remove("lock")
        # Stopped with requests in flight.
        last = Load(url, 1.0)
        busy = [threading.Thread(target=last.client, args=(0,)) for _ in range(4)]
        for thread in busy:
            thread.start()
        time.sleep(0.5)
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        stop_seconds = time.monotonic() - started
        for thread in busy:
            thread.join()
        after = [path.name for path in Path(temporary).glob("clipsep-serve-*")]
    result = {
        "seconds": arguments.seconds,
        "clients": arguments.clients,
        "answers": dict(sorted(load.answers.items())),
        "wrong": load.wrong[:20],
        "memory_after_warm_up_mib": round(warm, 1),
        "memory_at_the_end_mib": round(end, 1),
        "left_over": left,
        "stop_seconds": round(stop_seconds, 1),
        "left_after_stop": after,
    }
    print(json.dumps(result, indent=2))
    return int(bool(load.wrong or left or after or end > 1.1 * warm))


if __name__ == "__main__":
    sys.exit(main())
