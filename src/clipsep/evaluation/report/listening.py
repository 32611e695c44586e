"""A page to listen to a report's examples: one HTML file with sounds, spectrograms and images inside."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from clipsep.evaluation.mixtures import SAMPLE_RATE
from clipsep.evaluation.queries import class_of
from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.report.text import absent_sound_text, decibel_text
from clipsep.evaluation.scoring.score import MIXTURE, MixtureScores
from clipsep.media.resampling import resample
from clipsep.separation.files.figure import paint
from clipsep.spectral import SpectralSettings, stft, to_bands

_PEAK = 0.9  # of the loudest sound of an example, which are all scaled alike
_RANGE_DB = 70.0  # of a spectrogram's colours
_THUMBNAIL = 192  # pixels
_SETTINGS = SpectralSettings()
_TICKS = (100, 500, 1000, 2000, 4000)  # Hz


@dataclass(frozen=True)
class _Track:
    """One sound of an example; ``level`` is its SDR, if it has one."""

    name: str
    level: str
    sound: str
    spectrogram: str


@dataclass(frozen=True)
class _Example:
    """One mixture: ``changes`` are the kinds of estimates with their SDR before and after."""

    title: str
    query: str
    beside: str
    id: str
    image: str
    changes: list[tuple[str, str, str]]
    tracks: list[_Track]


def listening_page(report: Report) -> str:
    """Make the page as HTML; it needs no other file and no network."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_name("listening.html").read_text(encoding="utf-8")
    )
    examples = [_example(report, mixture) for mixture in report.mixtures if mixture.sounds]
    means = {
        name: decibel_text(report.statistic(name, "sdr").mean)
        for name in (MIXTURE, *report.model_estimates)
    }
    return template.render(
        report=report,
        list_name=Path(report.mixture_list["path"]).name,
        examples=examples,
        means=means,
        absent=[
            text for name in report.model_estimates if (text := absent_sound_text(report, name))
        ],
        seconds=_lengths(report),
        ticks=[_tick(frequency) for frequency in _TICKS],
        range_db=round(_RANGE_DB),
    )


def _lengths(report: Report) -> str:
    """Of the examples, in seconds: one number, or the shortest and the longest."""
    seconds = sorted(
        {round(scored.sound_seconds, 1) for scored in report.mixtures if scored.sounds}
    )
    return "–".join(f"{value:.1f}" for value in (seconds[:1] + seconds[1:][-1:]))


def _example(report: Report, scored: MixtureScores) -> _Example:
    mixture = scored.mixture
    sounds = {
        name: resample(sound, mixture.sample_rate, SAMPLE_RATE)
        for name, sound in (scored.sounds or {}).items()
    }
    first = report.model_estimates[0]
    sounds["what is left"] = sounds[MIXTURE] - sounds[first]
    # 1 for silence, which has no level.
    gain = _PEAK / (max(float(np.abs(sound).max()) for sound in sounds.values()) or 1.0)
    loudest = float(_bands(sounds[MIXTURE]).max()) or 1.0
    image = report.images.get(mixture.id)
    return _Example(
        title=class_of(mixture),
        query=mixture.query,
        beside=", ".join(one.label or one.path.stem for one in mixture.interferers),
        id=mixture.id,
        image=_image_uri(image) if image else "",
        changes=[
            (name, _sdr(scored, MIXTURE), _sdr(scored, name)) for name in report.model_estimates
        ],
        tracks=[
            _Track(
                name,
                _sdr(scored, name) if name in scored.scores else "",
                _sound_uri(sound * gain),
                _spectrogram_uri(sound, loudest),
            )
            for name, sound in sounds.items()
        ],
    )


def _sdr(scored: MixtureScores, name: str) -> str:
    return decibel_text(scored.scores[name].sdr, digits=1)


def _sound_uri(sound: np.ndarray) -> str:
    """MP3 of the best variable rate: every browser plays it, and it is a quarter of WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, SAMPLE_RATE, format="MP3", compression_level=0.0)
    return _data_uri("audio/mpeg", buffer)


def _spectrogram_uri(sound: np.ndarray, loudest: float) -> str:
    """Magnitudes on the networks' log-frequency bands, in dB below ``loudest``."""
    with np.errstate(divide="ignore"):
        level = 20 * np.log10(_bands(sound) / loudest)
    return _jpeg_uri(paint(level, 0.0, _RANGE_DB), quality=85)


def _bands(sound: np.ndarray) -> np.ndarray:
    """Magnitudes [F, T]."""
    spectrum = stft(sound, _SETTINGS.n_fft, _SETTINGS.hop_length)
    return to_bands(np.abs(spectrum), _SETTINGS)


def _tick(frequency: int) -> tuple[str, float]:
    """Its text, and its height in the spectrograms, from 0 at the bottom to 1."""
    unit = np.zeros(_SETTINGS.n_fft // 2 + 1, np.float32)
    unit[round(frequency / SAMPLE_RATE * _SETTINGS.n_fft)] = 1
    bands = to_bands(unit[:, None], _SETTINGS)[:, 0]
    height = float(np.sum(bands * np.arange(len(bands))) / np.sum(bands)) / (len(bands) - 1)
    return (f"{frequency // 1000}k" if frequency >= 1000 else str(frequency)), height


def _image_uri(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return _jpeg_uri(small, quality=80)


def _jpeg_uri(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return _data_uri("image/jpeg", buffer)


def _data_uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
