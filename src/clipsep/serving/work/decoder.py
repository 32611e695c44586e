"""Opens an upload in a process of its own, under limits, and writes plain samples.

    python -m clipsep.serving.work.decoder '{"task": "audio", "source": ..., ...}'

It prints one JSON object: what it found, or the sentence that says why it failed. A file made to
crash a decoder, to take all memory or never to end takes this process with it and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError

LONGEST_SIDE = 640  # pixels; query encoders look at far fewer


def main(argument: str) -> int:
    """Do one task and print what became of it; 0 if it worked, 1 if not."""
    request = json.loads(argument)
    task = _TASKS[request["task"]]
    _limit_this_process(request["memory"], request["cpu_seconds"], request["file_bytes"])
    try:
        answer = task(Path(request["source"]), Path(request["target"]), request)
    except ClipsepError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "The upload takes more memory to decode than this server allows."}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


def decode_audio(source: Path, target: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Write the audio of ``source`` to a WAV file of 32-bit floats at its own rate.

    Returns:
        Its length, sample rate and channels.

    Raises:
        ClipsepError: if it cannot be read, or is longer or larger than the request allows.
    """
    from clipsep.media import AudioReader, AudioWriter

    most = request["seconds"]
    samples = 0
    with AudioReader(source) as reader:
        info = reader.info
        bytes_per_second = 4 * info.channels * info.sample_rate
        _check_length(info.seconds or 0.0, bytes_per_second, request)
        with AudioWriter(
            target,
            info.sample_rate,
            info.channels,
            layout=info.layout,
            format="wav",
            expected_seconds=most,
        ) as writer:
            for block in reader:
                samples += block.shape[1]
                _check_length(samples / info.sample_rate, bytes_per_second, request)
                writer.write(block)
    return {
        "seconds": samples / info.sample_rate,
        "sample_rate": info.sample_rate,
        "channels": info.channels,
    }


def decode_image(source: Path, target: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Write an image as an array [height, width, 3] of 8-bit RGB, at most `LONGEST_SIDE` long.

    Raises:
        ClipsepError: if it cannot be read, or has more pixels than the request allows.
    """
    from clipsep.media.images import open_image, to_rgb

    image = to_rgb(open_image(source, request["pixels"]))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    pixels = np.asarray(image)
    with open(target, "wb") as file:
        np.save(file, pixels, allow_pickle=False)
    return {"height": pixels.shape[0], "width": pixels.shape[1]}


def _check_length(seconds: float, bytes_per_second: int, request: dict[str, Any]) -> None:
    if seconds > request["seconds"]:
        raise ClipsepError(
            f"{request['source']} is longer than the {request['seconds'] / 60:g} minutes that this "
            "server takes: send a part of it."
        )
    if seconds * bytes_per_second > request["file_bytes"]:
        raise ClipsepError(
            f"{request['source']} is too large for this server once it is decoded: send a part of "
            "it, or fewer channels."
        )


def _limit_this_process(memory: int, cpu_seconds: float, file_bytes: int) -> None:
    """Where the system offers it: memory and CPU time of this process, and bytes of a file."""
    with contextlib.suppress(ImportError):  # Windows has none of this
        import resource

        for what, bound in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, int(cpu_seconds) + 1),
            (resource.RLIMIT_FSIZE, file_bytes + 4096),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):  # macOS refuses some
                resource.setrlimit(what, (bound, bound))


_TASKS = {"audio": decode_audio, "image": decode_image}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
