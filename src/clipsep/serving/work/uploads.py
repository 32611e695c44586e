"""From an upload to samples or pixels that are safe to use, through a process that may die."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipsep.errors import ClipsepError
from clipsep.messages import printable
from clipsep.serving.limits import Limits

# The decoder works in the request's folder, so that its sentences name the upload like this.
AUDIO_UPLOAD = "The recording"
MIXTURE = "mixture.wav"
_LOG = "decoder.log"
_LONGEST_MESSAGE = 4096  # bytes


@dataclass(frozen=True)
class Recording:
    """A decoded upload: 32-bit float WAV at the upload's own rate."""

    path: Path
    seconds: float
    sample_rate: int
    channels: int


def decode_recording(folder: Path, limits: Limits, check: Callable[[], None]) -> Recording:
    """Decode the file `AUDIO_UPLOAD` of a folder to `MIXTURE` beside it, and remove the upload.

    Args:
        check: called several times a second; what it raises stops the decoder.

    Raises:
        ClipsepError: if the upload cannot be decoded within the limits.
    """
    found = _run_decoder("audio", folder, AUDIO_UPLOAD, MIXTURE, limits, check)
    (folder / AUDIO_UPLOAD).unlink()
    return Recording(folder / MIXTURE, **found)


def image_upload(number: int) -> str:
    """Name of the file of the n-th image, from 1."""
    return f"Image {number}"


def decode_image(
    folder: Path, number: int, limits: Limits, check: Callable[[], None]
) -> Image.Image:
    """Read the n-th image of a folder; raises as `decode_recording`."""
    name = image_upload(number)
    found = _run_decoder("image", folder, name, f"image-{number}.npy", limits, check)
    pixels = np.load(folder / f"image-{number}.npy", allow_pickle=False)
    if pixels.dtype != np.uint8 or pixels.shape != (found["height"], found["width"], 3):
        raise ClipsepError(f"{name} is not an image that can be read.")
    return Image.fromarray(pixels)


def _run_decoder(
    task: str, folder: Path, source: str, target: str, limits: Limits, check: Callable[[], None]
) -> dict[str, Any]:
    request = {
        "task": task,
        "source": source,
        "target": target,
        "seconds": limits.seconds,
        "pixels": limits.image_pixels,
        "memory": limits.decoder_bytes,
        "cpu_seconds": limits.decoder_seconds,
        "file_bytes": limits.decoded_bytes,
    }
    # One thread each: a decoder must not slow down the separation of somebody else's recording.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    path = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    with (
        (folder / _LOG).open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "clipsep.serving.work.decoder", json.dumps(request)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            answer = _wait(process, limits.decoder_seconds, check)
        finally:
            process.kill()
    try:
        found = json.loads(answer)
    except ValueError:
        _tell_operator(folder / _LOG)
        found = {"error": f"{source} made its decoder fail: it is damaged, or made to do harm."}
    if "error" in found:
        raise ClipsepError(found["error"])
    return found


def _tell_operator(log: Path) -> None:
    """Log what a decoder said last: it may be the server that is at fault, and not the upload."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LONGEST_MESSAGE))
        said = file.read().decode(errors="backslashreplace").strip().splitlines()
    logging.getLogger("clipsep.serving").error(
        "A decoder failed: %s", printable(said[-1]) if said else "it was killed"
    )


def _wait(process: subprocess.Popen[bytes], seconds: float, check: Callable[[], None]) -> bytes:
    step = 0.1
    waited = 0.0
    while True:
        try:
            return process.communicate(timeout=step)[0]
        except subprocess.TimeoutExpired:
            waited += step
            check()
            if waited > seconds:
                raise ClipsepError(
                    f"Decoding takes longer than the {seconds:g} s that this server allows: send a "
                    "shorter recording, or another format."
                ) from None
