"""How well recordings with the whole band of hearing are separated: 44.1 kHz, a General MIDI sound font.

    apt install fluidsynth fluid-soundfont-gm && pip install mido
    python -m benchmarks.full_band [/usr/share/sounds/sf2/FluidR3_GM.sf2]

Short new melodies and sounds of the font, mixed in pairs of equal loudness. `mini` has heard other melodies
of this font at 16 kHz. The network knows nothing above 8 kHz: compared are the ways to mask what is there.
Prints Markdown: the SDR improvement over all frequencies and that of what lies above 7.3 kHz alone, in dB.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import tempfile
from datetime import date
from pathlib import Path

import mido
import numpy as np
import soundfile

from benchmarks.speed import cpu_name
from clipsep import Separator
from clipsep.metrics import sdr, sdr_improvement
from clipsep.separation.masking import filterbank

RATE = 44_100
SECONDS = 6
SPLIT = 7_300  # Hz
# Programs of General MIDI by the label that the model knows; of drums the channel decides.
MELODIES = {
    "piano": 0, "xylophone": 13, "organ": 19, "accordion": 21, "harmonica": 22, "acoustic guitar": 25,
    "violin": 40, "harp": 46, "trumpet": 56, "tuba": 58, "saxophone": 65, "flute": 73, "sitar": 104,
}  # fmt: skip
SOUNDS = {"sea waves": 122, "bird chirping": 123, "telephone ringing": 124, "helicopter": 125}
DRUMS = "drums"
DRUM_CHANNEL = 9
KIT = {"kick": 36, "snare": 38, "closed hi-hat": 42, "open hi-hat": 46, "crash": 49}
WAYS = {
    "the mean mask from 5.5 to 7.3 kHz (as it is)": (5500.0, 7300.0),
    "the mask of the highest band": (7999.0, 7999.0),
    "nothing above 7.3 kHz": (5500.0, 7300.0),
}


def melody(label: str, chance: random.Random) -> mido.MidiFile:
    """Compose one voice of a few seconds; drums play a beat with hi-hats and a crash."""
    track = mido.MidiTrack()
    channel = DRUM_CHANNEL if label == DRUMS else 0
    if label != DRUMS:
        program = MELODIES.get(label, SOUNDS.get(label))
        track.append(mido.Message("program_change", program=program, channel=channel))
    low, high = (48, 60) if label == "tuba" else (60, 79)
    note = 0
    for beat in range(2 * SECONDS):
        if label == DRUMS:
            notes = [KIT["kick" if beat % 2 else "snare"], KIT["closed hi-hat"]]
            notes += [KIT["crash"]] if beat % 8 == 0 else [KIT["open hi-hat"]] * (beat % 4 == 3)
        elif label in SOUNDS:
            notes = [60]
        else:
            notes = [note := chance.choice([n for n in range(low, high) if n != note])]
        for number in notes:
            track.append(mido.Message("note_on", note=number, velocity=96, channel=channel))
        for place, number in enumerate(notes):
            ticks = 0 if place else 480  # half a second at 120 beats a minute
            track.append(mido.Message("note_off", note=number, time=ticks, channel=channel))
    return mido.MidiFile(tracks=[track])


def rendered(font: Path, label: str, chance: random.Random) -> np.ndarray:
    """Play a melody with FluidSynth: mono float64 at 44.1 kHz and an RMS of 0.05."""
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "a.mid", Path(folder) / "a.wav"
        melody(label, chance).save(score)
        command = ["fluidsynth", "-niq", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(RATE)]
        subprocess.run([*command, "-F", sound, font, score], check=True, capture_output=True)
        samples = soundfile.read(sound, always_2d=True)[0].mean(axis=1)
    samples = samples[: SECONDS * RATE]
    return samples * (0.05 / np.sqrt(np.mean(samples**2)))


def above(samples: np.ndarray) -> np.ndarray:
    """Return what lies above the split."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(samples.shape[-1], 1 / RATE) < SPLIT] = 0
    return np.fft.irfft(spectrum, samples.shape[-1])


def main() -> None:
    """Make the mixtures, separate them in each way and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
    parser.add_argument("font", type=Path, nargs="?", default=default)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    labels = [*MELODIES, *SOUNDS, DRUMS]
    chance = random.Random(options.seed)
    sounds = {label: rendered(options.font, label, chance) for label in labels}
    pairs = list(itertools.permutations(labels, 2))
    separator = Separator.from_pretrained(options.model, device="cpu")
    found: dict[str, list[tuple[float, float]]] = {}
    by_label: dict[str, list[float]] = {}
    for way, (low, high) in WAYS.items():
        filterbank._HELD_FROM, filterbank._HELD_ABOVE = low, high
        for target, other in pairs:
            length = min(len(sounds[target]), len(sounds[other]))
            reference, mixture = (
                sounds[target][:length],
                sounds[target][:length] + sounds[other][:length],
            )
            result = separator.separate(mixture[None].astype(np.float32), RATE, [target])
            estimate = np.asarray(result.targets[target], np.float64).reshape(-1)
            if way.startswith("nothing"):
                estimate = estimate - above(estimate)
            whole = float(sdr_improvement(reference, estimate, mixture))
            treble = (above(reference), above(estimate), above(mixture))
            found.setdefault(way, []).append(
                (whole, float(sdr(*treble[:2]) - sdr(treble[0], treble[2])))
            )
            if way == next(iter(WAYS)):
                by_label.setdefault(target, []).append(whole)
    print(
        f"{len(pairs)} mixtures of {len(labels)} sounds, {options.model}, {cpu_name()}, {date.today()}\n"
    )
    print("| above 7.3 kHz | SDR improvement, mean / median | above 7.3 kHz alone, mean / median |")
    print("|---|--:|--:|")
    for way, gains in found.items():
        cells = [f"{np.mean(one):.2f} / {np.median(one):.2f}" for one in zip(*gains, strict=True)]
        print(f"| {way} | {' | '.join(cells)} |")
    print("\n| target | SDR improvement, dB |\n|---|--:|")
    for label, gains in sorted(by_label.items(), key=lambda item: -np.mean(item[1])):
        print(f"| {label} | {np.mean(gains):.2f} |")


if __name__ == "__main__":
    main()
