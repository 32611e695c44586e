"""Make MP4 videos from a folder of sounds and images, as a stand-in for videos from the wild.

Knows the folder layout and the two conditions, clean and noisy; knows nothing of any model.

Layout (any folder that has it will do; `manifest.csv` is used when there is one):

    CORPUS/manifest.csv                       kind,split,label,path,seconds,source,license
    CORPUS/audio/<split>/<label>/*.ogg        one recording a file
    CORPUS/images/<split>/<label>/*.jpg

A clean video has sounds of one class and, as its frames, a slow pan and zoom over images of that
class. The noisy condition keeps the same videos, adds to half of them an off-screen sound of
another class, and shows in one of ten images of the wrong class.

    python -m recipes.mini.make_videos CORPUS -o videos/train --split train --condition noisy
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from PIL import Image

SECONDS = 10.0
SAMPLE_RATE = 16_000
FADE_SECONDS = 0.005
FRAME_RATE = 8
FRAME_SIZE = 256
AUDIO_BIT_RATE = 96_000  # the most that AAC allows for one channel at 16 kHz
DEFAULT_PER_CLASS = {"train": 40}
DEFAULT_PER_CLASS_ELSEWHERE = 4
AUDIO_SUFFIXES = {".ogg", ".wav", ".flac", ".mp3", ".opus"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}

OFFSCREEN_SHARE = 0.5
OFFSCREEN_DB_BELOW = (0.0, 10.0)
WRONG_IMAGE_SHARE = 0.1


class CorpusError(Exception):
    """The corpus cannot be used; the message names what is missing and where."""


@dataclass(frozen=True)
class Corpus:
    """Recordings (path, seconds) and images (path) by label, of one split."""

    recordings: dict[str, list[tuple[Path, float]]]
    images: dict[str, list[Path]]


@dataclass(frozen=True)
class Piece:
    """Part of a recording: `start` and `stop` in seconds."""

    path: Path
    start: float
    stop: float


@dataclass(frozen=True)
class Video:
    """All that one video is made of; `level_db` is the off-screen RMS relative to the on-screen."""

    path: str
    label: str
    shown_label: str
    images: tuple[Path, ...]
    pieces: tuple[Piece, ...]
    offscreen_label: str = ""
    offscreen: tuple[Piece, ...] = ()
    level_db: float = 0.0


# Reading the corpus


def read_corpus(root: Path, split: str, mixtures: Path | None = None) -> Corpus:
    """List the sounds and images of `split`, from `manifest.csv` or else from the folders.

    With a list of `mixtures` (a CSV file), only of the classes that are separated there.
    Raises CorpusError when the split has no class with both a sound and an image.
    """
    wanted = None
    if mixtures is not None:
        with mixtures.open(newline="", encoding="utf-8") as file:
            wanted = {row["label"] for row in csv.DictReader(file)}
    manifest = root / "manifest.csv"
    listed = (
        _listed_files(root, manifest, split) if manifest.exists() else _found_files(root, split)
    )
    recordings: dict[str, list[tuple[Path, float]]] = {}
    images: dict[str, list[Path]] = {}
    for kind, label, path in sorted(listed):
        if wanted is not None and label not in wanted:
            continue
        if kind == "audio":
            recordings.setdefault(label, []).append((path, _duration(path)))
        else:
            images.setdefault(label, []).append(path)
    both = sorted(recordings.keys() & images.keys())
    if not both:
        raise CorpusError(f"{root}: split {split!r} has no class with both a sound and an image")
    return Corpus({key: recordings[key] for key in both}, {key: images[key] for key in both})


def _listed_files(root: Path, manifest: Path, split: str) -> Iterator[tuple[str, str, Path]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                yield row["kind"], row["label"], root / row["path"]


def _found_files(root: Path, split: str) -> Iterator[tuple[str, str, Path]]:
    for kind, folder, suffixes in (
        ("audio", "audio", AUDIO_SUFFIXES),
        ("image", "images", IMAGE_SUFFIXES),
    ):
        for path in (root / folder / split).glob("*/*"):
            if path.suffix.lower() in suffixes:
                yield kind, path.parent.name.replace("_", " "), path


def _duration(path: Path) -> float:
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise CorpusError(f"{path}: not a readable recording ({error})") from error
    if not info.frames:
        raise CorpusError(f"{path}: the recording is empty")
    return info.frames / info.samplerate


# Planning: every random choice is made here, none while writing


def plan(corpus: Corpus, split: str, per_class: int, noisy: bool, seed: int) -> list[Video]:
    """Decide what each video holds. The same arguments give the same videos.

    A class gets `per_class` videos, or more where that is too few to hear all its recordings once.
    Clean and noisy plans of one seed differ only in what the noisy condition adds or replaces.
    """
    videos = []
    for label, recordings in corpus.recordings.items():
        name = label.replace(" ", "_")
        unique_seconds = sum(seconds for _, seconds in recordings)
        count = max(per_class, math.ceil(unique_seconds / SECONDS))
        stretches = _stretches(recordings, _generator(seed, split, name))
        for index in range(1, count + 1):
            path = f"{name}/{name}-{index:04d}.mp4"
            pieces = next(stretches)
            images = _choose_images(corpus.images[label], _generator(seed, split, path))
            video = Video(path, label, label, images, pieces)
            if noisy:
                video = _add_noise(video, corpus, _generator(seed, split, path, "noise"))
            videos.append(video)
    return videos


def _generator(*key: int | str) -> np.random.Generator:
    """Make a generator that depends on the key alone (the built-in hash changes from run to run)."""
    return np.random.default_rng(list("/".join(map(str, key)).encode()))


def _stretches(
    recordings: list[tuple[Path, float]], rng: np.random.Generator, seconds: float = SECONDS
) -> Iterator[tuple[Piece, ...]]:
    """Stretches of `seconds`, for ever, out of all recordings in random order, again and again.

    What is cut off at the end of one stretch begins the next, so all recordings are heard equally.
    """
    pieces: list[Piece] = []
    missing = seconds
    while True:
        for index in rng.permutation(len(recordings)):
            path, stop = recordings[index]
            start = 0.0
            while stop - start >= missing:
                pieces.append(Piece(path, start, start + missing))
                yield tuple(pieces)
                start, pieces, missing = start + missing, [], seconds
            if stop - start > 2 * FADE_SECONDS:  # a shorter rest would be nothing but its fades
                pieces.append(Piece(path, start, stop))
                missing -= stop - start


def _choose_images(images: list[Path], rng: np.random.Generator) -> tuple[Path, ...]:
    count = min(int(rng.integers(1, 4)), len(images))
    return tuple(images[i] for i in rng.choice(len(images), count, replace=False))


def _add_noise(video: Video, corpus: Corpus, rng: np.random.Generator) -> Video:
    changes = vars(video).copy()
    others = [label for label in corpus.recordings if label != video.label]
    if not others:
        raise CorpusError("the noisy condition needs at least two classes")
    if rng.random() < OFFSCREEN_SHARE:
        label = others[rng.integers(len(others))]
        changes["offscreen_label"] = label
        changes["offscreen"] = next(_stretches(corpus.recordings[label], rng))
        changes["level_db"] = -round(float(rng.uniform(*OFFSCREEN_DB_BELOW)), 2)
        others = [other for other in others if other != label] or others
    if rng.random() < WRONG_IMAGE_SHARE:
        shown = others[rng.integers(len(others))]
        changes["shown_label"] = shown
        changes["images"] = _choose_images(corpus.images[shown], rng)
    return Video(**changes)


# Writing


def sound_of(video: Video) -> np.ndarray:
    """Make the sound of a video: float32 [samples], mono at SAMPLE_RATE, not above full scale."""
    sound = _joined(video.pieces)
    if video.offscreen:
        noise = _joined(video.offscreen)
        gain = _rms(sound) / max(_rms(noise), 1e-6) * 10 ** (video.level_db / 20)
        sound = sound + np.float32(gain) * noise
    # AAC overshoots a little, hence not quite 1.
    return sound * np.float32(min(1.0, 0.97 / max(np.abs(sound).max(), 1e-6)))


def _joined(pieces: tuple[Piece, ...]) -> np.ndarray:
    sound = np.concatenate([_faded(_read(piece)) for piece in pieces])
    length = round(SECONDS * SAMPLE_RATE)
    return np.pad(sound, (0, max(0, length - len(sound))))[:length]  # rounding of each piece


def _read(piece: Piece) -> np.ndarray:
    with soundfile.SoundFile(piece.path) as file:
        rate = file.samplerate
        file.seek(round(piece.start * rate))
        count = round(piece.stop * rate) - round(piece.start * rate)
        sound = file.read(count, dtype="float32", always_2d=True).mean(axis=1)
    return sound if rate == SAMPLE_RATE else soxr.resample(sound, rate, SAMPLE_RATE)


def _faded(sound: np.ndarray) -> np.ndarray:
    """Fade both ends, so that no click betrays where recordings meet."""
    count = min(round(FADE_SECONDS * SAMPLE_RATE), len(sound) // 2)
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    sound[:count] *= ramp
    sound[len(sound) - count :] *= ramp[::-1]
    return sound


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def frames_of(video: Video, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Make the frames of a video: its images one after another, each slowly panned and zoomed over."""
    total = round(SECONDS * FRAME_RATE)
    edges = np.linspace(0, total, len(video.images) + 1).round().astype(int)
    for path, first, last in zip(video.images, edges, edges[1:], strict=False):
        with Image.open(path) as file:
            image = file.convert("RGB")
        start, stop = _random_square(image.size, rng), _random_square(image.size, rng)
        for position in np.linspace(0, 1, last - first):
            box = tuple((1 - position) * start + position * stop)
            yield image.resize((FRAME_SIZE,) * 2, Image.Resampling.BILINEAR, box=box)


def _random_square(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a box [left, top, right, bottom] of 80 to 100 % of the largest square within `size`."""
    side = min(size) * rng.uniform(0.8, 1.0)
    left, top = rng.uniform(0, size[0] - side), rng.uniform(0, size[1] - side)
    return np.array([left, top, left + side, top + side])


def write_video(video: Video, out: Path, seed: int) -> str:
    """Write `video` below `out` unless it is there; returns what went wrong, or ''."""
    path = out / video.path
    if path.exists():
        return ""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial")
    try:
        _encode(partial_path, sound_of(video), frames_of(video, _generator(seed, video.path)))
        partial_path.replace(path)
    except (OSError, ValueError, soundfile.SoundFileError, av.FFmpegError) as error:
        partial_path.unlink(missing_ok=True)
        return f"{path}: {error}"
    return ""


def _encode(path: Path, sound: np.ndarray, frames: Iterator[Image.Image]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width = video.height = FRAME_SIZE
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "veryfast", "crf": "23"}
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = AUDIO_BIT_RATE
        audio.options = {"cutoff": str(SAMPLE_RATE // 2)}

        step = SAMPLE_RATE // FRAME_RATE
        for index, image in enumerate(frames):
            container.mux(video.encode(_video_frame(image, index)))
            start = index * step
            container.mux(audio.encode(_sound_frame(sound[start : start + step], start)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _video_frame(image: Image.Image, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_image(image)
    frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
    return frame


def _sound_frame(sound: np.ndarray, start: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frame.pts, frame.time_base = start, Fraction(1, SAMPLE_RATE)
    return frame


def write_labels(videos: list[Video], out: Path) -> None:
    """Write `labels.csv` (path, label): for validation and supervised baselines only."""
    _write_csv(out / "labels.csv", ("path", "label"), ((v.path, v.label) for v in videos))


def write_noise(videos: list[Video], out: Path) -> None:
    """Write `noise.csv`: what the noisy condition did to each video ('' and '' for no sound)."""
    rows = (
        (v.path, v.label, v.offscreen_label, v.level_db if v.offscreen else "", v.shown_label)
        for v in videos
    )
    header = ("path", "label", "offscreen_label", "level_db", "shown_label")
    _write_csv(out / "noise.csv", header, rows)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterator[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder with audio/ and images/")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the videos")
    parser.add_argument("--split", required=True, choices=("train", "val", "test"))
    parser.add_argument("--condition", default="clean", choices=("clean", "noisy"))
    parser.add_argument(
        "--classes-of", type=Path, metavar="CSV", help="only classes that these mixtures separate"
    )
    parser.add_argument("--per-class", type=int, help="videos a class, at least (train 40, else 4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make the videos; returns 0, 1 when some failed, 2 when the corpus cannot be used."""
    args = parse_arguments(arguments)
    noisy = args.condition == "noisy"
    per_class = args.per_class or DEFAULT_PER_CLASS.get(args.split, DEFAULT_PER_CLASS_ELSEWHERE)
    try:
        corpus = read_corpus(args.corpus, args.split, args.classes_of)
        videos = plan(corpus, args.split, per_class, noisy, args.seed)
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    args.out.mkdir(parents=True, exist_ok=True)
    write_labels(videos, args.out)
    if noisy:
        write_noise(videos, args.out)
    write = partial(write_video, out=args.out, seed=args.seed)
    with ProcessPoolExecutor(args.workers) as pool:
        failures = [failure for failure in pool.map(write, videos, chunksize=8) if failure]
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"{len(videos) - len(failures)} videos of {len(corpus.images)} classes in {args.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
