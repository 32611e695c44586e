"""Damaged media: bit flips, cuts and mutations of every kind of file that can be written here."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError

from benchmarks.faults.isolation import CHANGED, HARMLESS, run_attempts
from benchmarks.faults.mutations import flip_bit, mutate
from benchmarks.faults.tally import Tally
from clipsep.media import OUTPUT_FORMATS, AudioWriter, read_audio, read_video

RATE = 48_000
SECONDS = 1.5
# What the format lets be known, as SECURITY.md lists it.
EVERY_BYTE = ("flac", "ogg", "opus", "wv", "tta", "mkv")
ENDS = (
    *EVERY_BYTE,
    *("wav", "rf64", "w64", "aiff", "au", "caf", "m4a", "mp3"),
    *("mp4", "mov", "webm", "avi", "flv"),
)
_SOUNDFILE_KINDS = ("aiff", "au", "caf", "w64", "rf64")
# Containers with one stream of sound, by codec.
_FFMPEG_SOUND = {"wv": "wavpack", "tta": "tta", "aac": "aac", "ac3": "ac3"}
_FILMS = {
    "mp4": ("mpeg4", "aac"),
    "mov": ("mpeg4", "aac"),
    "mkv": ("mpeg4", "aac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "mp3"),
    "flv": ("flv", "mp3"),
    "ts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg2video", "mp2"),
}


def test_sound(channels: int = 2, rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """Tones in noise, [C, T]: no two seconds and no two channels are alike."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(time)))
    sweep = [np.sin(2 * np.pi * (200 + 90 * c + 300 * time) * time) for c in range(channels)]
    return (0.3 * np.stack(sweep) + 0.05 * noise).astype(np.float32)


def write_film(path: Path, codecs: tuple[str, str], seconds: float = SECONDS, rate: int = RATE):
    """Make a small film with sound; FFmpegError or ValueError where a codec is not built in."""
    sound = test_sound(2, rate, seconds)
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        film = container.add_stream(codecs[0], rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream(codecs[1], rate=rate, layout="stereo")
        for index in range(round(seconds * 25)):
            pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(film.encode(frame))
            start = index * rate // 25
            part = np.ascontiguousarray(sound[:, start : start + rate // 25].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, "flt", "stereo")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(track.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode(None))


def write_seeds(folder: Path) -> dict[str, Path]:
    """Make a whole file of each kind, by its suffix, but for kinds that this ffmpeg cannot write."""
    seeds = {}
    for kind in OUTPUT_FORMATS:
        if kind in _FILMS:
            continue
        path = folder / f"seed.{kind}"
        with AudioWriter(path, RATE, 2, format=kind) as writer:
            writer.write(test_sound())
        seeds[kind] = path
    for kind in _SOUNDFILE_KINDS:
        path = folder / f"seed.{kind}"
        soundfile.write(path, test_sound().T, RATE, subtype="PCM_16", format=kind.upper())
        seeds[kind] = path
    for kind, codec in _FFMPEG_SOUND.items():
        path = folder / f"seed.{kind}"
        if _written(partial(_encode, path, codec)):
            seeds[kind] = path
    for kind, codecs in _FILMS.items():
        path = folder / f"seed.{kind}"
        if _written(partial(write_film, path, codecs)):
            seeds[kind] = path
    return seeds


def damage_media(folder: Path, count: int, seed: int) -> Iterator[Tally]:
    """Three lines for each kind of file.

    Args:
        folder: an empty one, for the files.
        count: attempts of each line.
    """
    for kind, path in write_seeds(folder).items():
        whole = path.read_bytes()
        original = _heard(path)
        target = folder / f"damaged.{kind}"
        film = kind in _FILMS
        for what, promised, change in (
            ("one flipped bit", kind in EVERY_BYTE, flip_bit),
            ("cut anywhere", kind in ENDS, _cut),
            ("mutated", False, mutate),
        ):
            tally = Tally(f"{kind}: {what}", promised)
            if kind == "mp3" and change is _cut:
                change = _cut_two_frames
            fuzz = partial(_attempt, change, whole, original, target, seed, film)
            for outcome in run_attempts(fuzz, count):
                tally.add(outcome)
            yield tally


def _attempt(
    change: Callable[[bytes, random.Random], bytes],
    whole: bytes,
    original: str,
    target: Path,
    seed: int,
    film: bool,
    number: int,
) -> str:
    target.write_bytes(change(whole, random.Random(f"{seed}-{number}")))
    found = _heard(target)
    if film:
        read_video(target)
    return HARMLESS if found == original else CHANGED


def _heard(path: Path) -> str:
    """Digest the sound that is read, with its rate."""
    sound, rate = read_audio(path)
    return hashlib.sha256(f"{rate} {sound.shape}".encode() + sound.tobytes()).hexdigest()


def _cut(whole: bytes, chance: random.Random) -> bytes:
    """Half of the cuts take less than a hundredth."""
    shortest = 1 if chance.random() < 0.5 else max(1, 99 * len(whole) // 100)
    return whole[: chance.randrange(shortest, len(whole))]


def _cut_two_frames(whole: bytes, chance: random.Random) -> bytes:
    """Its header counts the frames, but not all encoders count alike."""
    return _cut(whole[:-3000], chance)


def _encode(path: Path, codec: str) -> None:
    sound = np.ascontiguousarray(test_sound().T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(sound, "flt", "stereo")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=RATE, layout="stereo")
        resampler = av.AudioResampler(track.format, "stereo", RATE, track.frame_size or 4096)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))


def _written(write: Callable[[], None]) -> bool:
    try:
        write()
    except (FFmpegError, ValueError, OSError):
        return False
    return True
