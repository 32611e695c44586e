"""Audio and video files for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from clipsep.media import AudioWriter

FRAMES_PER_SECOND = 10


def tones(rate: int, channels: int, seconds: float = 0.8) -> np.ndarray:
    """[C, T]: a tone of its own in each channel over a little noise, so that no two are alike."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(time)))
    pure = [np.sin(2 * np.pi * (100 + 40 * index) * time) for index in range(channels)]
    return (0.3 * np.stack(pure) + 0.02 * noise).astype(np.float32)


def write(path: Path, audio: np.ndarray, rate: int, **options: object) -> Path:
    with AudioWriter(path, rate, len(audio), **options) as writer:
        for start in range(0, audio.shape[1], 3000):
            writer.write(audio[:, start : start + 3000])
    return path


def write_video(
    path: Path,
    seconds: float = 3.0,
    codecs: tuple[str | None, str | None] = ("mpeg4", "aac"),
    rate: int = 48_000,
    delay: float = 0.0,
    size: tuple[int, int] = (64, 48),
    gain: float = 1.0,
    **options: str,
) -> np.ndarray:
    """A film whose red is 8 x the frame's number, its left quarter blue; returns its sound [2, T]

    ``delay`` (seconds) postpones the sound. Either codec may be None for a film without it.
    """
    audio = np.float32(gain) * tones(rate, 2, seconds)
    with av.open(str(path), "w", options=options) as container:
        video, sound = codecs
        if video:
            film = container.add_stream(video, rate=FRAMES_PER_SECOND, bit_rate=2_000_000)
            film.width, film.height = size
            film.pix_fmt = "yuv420p"
        if sound:
            track = container.add_stream(sound, rate=rate, layout="stereo")
        per_frame = rate // FRAMES_PER_SECOND
        for index in range(round(seconds * FRAMES_PER_SECOND)):
            if video:
                pixels = np.zeros((size[1], size[0], 3), np.uint8)
                pixels[..., 0] = 8 * index % 256
                pixels[:, : size[0] // 4, 2] = 255
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
                container.mux(film.encode(frame))
            if sound:
                start = index * per_frame
                packed = np.ascontiguousarray(audio[:, start : start + per_frame].T)
                frame = av.AudioFrame.from_ndarray(packed.reshape(1, -1), "flt", "stereo")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(delay * rate)
                container.mux(track.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode(None))
    return audio
