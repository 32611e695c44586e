"""What one server takes at most, in one place; `clipsep serve` has options for the common ones."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        upload_bytes: size of one request's body.
        upload_seconds: time that a body may take to arrive.
        idle_seconds: between two pieces of a body.
        uploads: bodies that are received at once.
        seconds: length of a recording.
        decoded_bytes: size of a recording as 32-bit samples.
        decoder_bytes: memory of the process that decodes an upload.
        decoder_seconds: time that this process may take.
        image_pixels: size of an uploaded image.
        queries: texts and images of one request.
        query_characters: length of one text.
        waiting: requests in the queue, the running one not counted.
        per_client: unfinished requests of one address.
        job_seconds: time that one request may run.
        kept: finished results that are kept for download; the oldest is removed first.
        keep_seconds: time that a finished result is kept.
        shutdown_seconds: time that running requests get to finish when the server is stopped.
    """

    upload_bytes: int = 200 * MIB
    upload_seconds: float = 300.0
    idle_seconds: float = 20.0
    uploads: int = 16
    seconds: float = 600.0
    decoded_bytes: int = 1024 * MIB
    decoder_bytes: int = 2048 * MIB
    decoder_seconds: float = 120.0
    image_pixels: int = 50_000_000
    queries: int = 8
    query_characters: int = 200
    waiting: int = 16
    per_client: int = 8
    job_seconds: float = 600.0
    kept: int = 16
    keep_seconds: float = 1800.0
    shutdown_seconds: float = 5.0  # containers are killed ten seconds after they are told to stop
