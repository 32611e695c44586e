"""`clipsep live` through sound devices: how late, how whole, and with how many gaps.

    python -m benchmarks.live_devices [--latency 0.5] [--json FILE]

On Linux with a running PulseAudio (or PipeWire's), `pactl`, `paplay` and `parec`, and ALSA's default
device set to it: two devices without hardware are the microphone and the speakers. What the speakers played
is compared with what `clipsep live --raw` makes of the samples that the microphone gave.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.speed import cpu_name
from clipsep import Separator

EXAMPLE = Path(__file__).parents[1] / "examples" / "speech-and-violin.flac"
RATE = 48_000
RAW = ["--raw", f"--rate={RATE}", "--channels=1", "--format=float32le", "--latency-msec=20"]


@contextmanager
def null_sink(name: str):
    """Make a sink that nobody hears, and whose monitor records what it plays."""
    command = ["pactl", "load-module", "module-null-sink", f"sink_name={name}", f"rate={RATE}"]
    number = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield
    finally:
        subprocess.run(["pactl", "unload-module", number], check=True)


@contextmanager
def recorded(device: str, samples: list[np.ndarray]):
    process = subprocess.Popen(["parec", f"--device={device}", *RAW], stdout=subprocess.PIPE)
    try:
        yield
    finally:
        process.terminate()
        samples.append(np.frombuffer(process.communicate()[0], "<f4"))


def delay(late: np.ndarray, early: np.ndarray) -> tuple[float, float]:
    """Seconds by which a signal follows another, and their correlation there."""
    n = 1 << (len(late) + len(early)).bit_length()
    product = np.fft.rfft(late, n) * np.conj(np.fft.rfft(early, n))
    correlation = np.fft.irfft(product, n)
    shift = int(correlation.argmax())
    norm = np.sqrt(np.square(late).sum() * np.square(early).sum())
    return (shift if shift < n // 2 else shift - n) / RATE, float(correlation[shift] / norm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--query", default="violin")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    microphone, speakers = f"clipsep-mic-{os.getpid()}", f"clipsep-speakers-{os.getpid()}"
    environment = {**os.environ, "PULSE_SOURCE": f"{microphone}.monitor", "PULSE_SINK": speakers}
    live = [sys.executable, "-m", "clipsep", "live", "-q", arguments.query]
    live += ["--latency", str(arguments.latency)]
    taken: list[np.ndarray] = []
    with ExitStack() as stack:
        stack.enter_context(null_sink(microphone))
        stack.enter_context(null_sink(speakers))
        process = subprocess.Popen(live, env=environment, stderr=subprocess.PIPE, text=True)
        stack.callback(process.kill)
        assert process.stderr is not None
        for line in process.stderr:  # until the devices are open
            if "Ctrl-C" in line:
                break
        with recorded(f"{speakers}.monitor", taken), recorded(f"{microphone}.monitor", taken):
            time.sleep(1)
            subprocess.run(["paplay", f"--device={microphone}", str(EXAMPLE)], check=True)
            time.sleep(arguments.latency + 1)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=10)
    heard, played = taken
    expected = np.concatenate(
        [
            block.targets[arguments.query]
            for block in Separator().stream(
                [heard], RATE, [arguments.query], latency=arguments.latency
            )
        ]
    )
    late, correlation = delay(played, expected)
    result = {
        "latency": arguments.latency,
        "delay_s": round(late, 2),
        "correlation": round(correlation, 4),
        "gap_reported": "too slow" in messages,
        "exit_code": process.returncode,
        "example_s": round(soundfile.info(EXAMPLE).duration, 1),
        "cpu": cpu_name(),
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
