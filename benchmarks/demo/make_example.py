"""Make the example recording: a person speaking over a violin, from Debian's free sounds.

Knows the melody, the two sources and how they are mixed; knows nothing of separation.

    sudo apt-get install --no-install-recommends asterisk-core-sounds-en-g722 freepats timidity
    python -m benchmarks.demo.make_example -o examples/speech-and-violin.flac --stems stems
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

SPEECH = Path("/usr/share/asterisk/sounds/en_US_f_Allison/tt-allbusy.g722")
PATCHES = Path("/etc/timidity/freepats.cfg")
SAMPLE_RATE = 44_100
SECONDS = 11.5
SPEECH_START_SECONDS = 1.2
VIOLIN_BELOW_SPEECH_DB = 3.0
PEAK = 0.9
# Speech in the middle, violin a little to the right, as gains of the left and right channel.
SPEECH_PAN = (0.707, 0.707)
VIOLIN_PAN = (0.53, 0.85)

GM_VIOLIN = 40  # program 41 when counted from 1
BEAT_SECONDS = 0.6
TICKS_PER_BEAT = 480
# (MIDI note, beats): an air in D minor, made up for this example.
MELODY = (
    (74, 1.5), (76, 0.5), (77, 1), (81, 2), (79, 0.5), (77, 0.5),
    (76, 1.5), (72, 0.5), (69, 1), (70, 1), (74, 1), (77, 1),
    (76, 0.5), (74, 0.5), (73, 1), (76, 1), (74, 2.5),
)  # fmt: skip


def midi_of(melody: tuple[tuple[int, float], ...]) -> bytes:
    """Write a MIDI file (format 0) of one legato violin part; `melody` holds (note, beats)."""
    microseconds = round(BEAT_SECONDS * 1e6)
    track = b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big")
    track += bytes([0x00, 0xC0, GM_VIOLIN])
    for note, beats in melody:
        track += bytes([0x00, 0x90, note, 96])
        track += _variable_length(round(beats * TICKS_PER_BEAT)) + bytes([0x80, note, 64])
    track += _variable_length(2 * TICKS_PER_BEAT) + b"\xff\x2f\x00"  # room for the last note
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1])
    header += TICKS_PER_BEAT.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _variable_length(number: int) -> bytes:
    """MIDI's numbers: seven bits a byte, the high bit set on all but the last."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def render_violin(patches: Path) -> np.ndarray:
    """Play the melody with TiMidity++ and `patches`: mono [samples] at SAMPLE_RATE."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder, "violin.mid"), Path(folder, "violin.wav")
        midi.write_bytes(midi_of(MELODY))
        command = ["timidity", "-c", patches, "-Ow", "-s", str(SAMPLE_RATE), "-o", wave, midi]
        # It complains of its default configuration even where `patches` replaces it.
        subprocess.run(command, check=True, capture_output=True)
        sound, _ = soundfile.read(wave, dtype="float64", always_2d=True)
    return sound.mean(axis=1)


def read_speech(path: Path) -> np.ndarray:
    """Read the spoken recording: mono [samples] at SAMPLE_RATE."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    sound = np.concatenate([frame.to_ndarray().ravel() for frame in frames]) / 32768
    return soxr.resample(sound, frames[0].sample_rate, SAMPLE_RATE)


def placed(sound: np.ndarray, start_seconds: float, pan: tuple[float, float]) -> np.ndarray:
    """`sound` at an RMS of 1, as stereo [samples, 2] of SECONDS from `start_seconds` on."""
    out = np.zeros((round(SECONDS * SAMPLE_RATE), 2))
    start = round(start_seconds * SAMPLE_RATE)
    sound = sound[: len(out) - start]
    level = np.sqrt(np.mean(sound**2))
    out[start : start + len(sound)] = np.outer(sound / level, pan)
    return out


def make_stems(speech: Path, patches: Path) -> dict[str, np.ndarray]:
    """Speech and violin, each stereo [samples, 2], so that their sum peaks at PEAK."""
    stems = {
        "speech": placed(read_speech(speech), SPEECH_START_SECONDS, SPEECH_PAN),
        "violin": placed(render_violin(patches), 0.0, VIOLIN_PAN)
        * 10 ** (-VIOLIN_BELOW_SPEECH_DB / 20),
    }
    fade = round(0.3 * SAMPLE_RATE)
    stems["violin"][-fade:] *= np.linspace(1, 0, fade)[:, None]
    gain = PEAK / np.abs(stems["speech"] + stems["violin"]).max()
    return {name: gain * stem for name, stem in stems.items()}


def main(arguments: list[str] | None = None) -> int:
    """Write the example, and its stems when asked to; returns 2 when a source is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="the example, a .flac file")
    parser.add_argument("--stems", type=Path, help="folder for speech.flac and violin.flac")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--patches", type=Path, default=PATCHES, help="TiMidity++ configuration")
    args = parser.parse_args(arguments)
    missing = [str(path) for path in (args.speech, args.patches) if not path.exists()]
    if not shutil.which("timidity"):
        missing.append("timidity")
    if missing:
        print(f"error: missing {', '.join(missing)}: see the packages on top", file=sys.stderr)
        return 2

    stems = make_stems(args.speech, args.patches)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(args.out, sum(stems.values()), SAMPLE_RATE, subtype="PCM_16")
    if args.stems:
        args.stems.mkdir(parents=True, exist_ok=True)
        for name, stem in stems.items():
            soundfile.write(args.stems / f"{name}.flac", stem, SAMPLE_RATE, subtype="PCM_16")
    return 0


if __name__ == "__main__":
    sys.exit(main())
