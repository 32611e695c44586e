"""`find` and `scan`: spans are where the sound is, within a fraction of a second."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipsep import SeparationOptions, Separator, UsageError
from clipsep.checkpoint import CheckpointConfig
from clipsep.cli import main
from clipsep.finding import FindResult, FoundSound, Span, find, scan
from clipsep.finding.exports import as_csv, as_labels
from clipsep.finding.find import _as_one_of
from clipsep.finding.presence import Presence, energy_shares, exclusive_shares, smoothed
from clipsep.finding.spans import spans_of
from clipsep.media import AudioWriter, read_audio
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.spectral import SpectralSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "speech-and-violin.flac"


def test_spans_are_merged_over_short_pauses_and_cut_at_the_end():
    curve = np.array([0, 0, 0.9, 0.9, 0.1, 0.9, 0.9, 0, 0, 0, 0, 0, 0.4, 0, 0, 0.6, 0.6, 0.6])
    spans = spans_of(curve, 0.1, 1.75)
    assert [(span.start, span.end) for span in spans] == [(0.2, 0.7), (1.5, 1.75)]
    assert [span.confidence for span in spans] == [0.9, 0.6]
    assert spans_of(np.zeros(5), 0.1, 0.5) == []


def test_shares_are_those_of_each_frames_energy():
    log_magnitude = np.log(np.array([[1.0, 2.0, 1e-9], [1.0, 1.0, 1e-9]]))
    masks = np.zeros((2, 2, 3), np.float32)
    masks[0, 0] = 1.0
    masks[1] = 0.5
    np.testing.assert_allclose(
        energy_shares(log_magnitude, masks), [[0.5, 0.8, 0], [0.25, 0.25, 0]], atol=1e-6
    )


def test_of_two_names_for_one_sound_the_better_counts():
    log_magnitude = np.zeros((2, 4))
    masks = np.zeros((3, 2, 4), np.float32)
    masks[0, 0], masks[1, 0], masks[2, 1] = 0.95, 0.9, 0.8  # the first two want the same bins
    shares = exclusive_shares(log_magnitude, masks)
    assert shares[0].min() > 0.4 and shares[2].min() > 0.3
    assert not shares[1].any()


def test_a_moment_is_judged_by_what_the_mask_takes_and_how_loud_that_is():
    config = CheckpointConfig(
        name="half",
        model=ModelSettings(network=PatchUNetSettings()),
        spectral=SpectralSettings(),
        query_encoder="fake",
    )
    engine = SimpleNamespace(mask_logits=lambda mixture, queries: np.zeros((1, 1, 2, 4)))
    presence = Presence(engine, config, np.zeros((1, 3)), None, SeparationOptions(), 16_000)
    log_magnitude = np.log(np.array([[1.0, 1.0, 0.1, 1e-9]] * 2))  # the last frame is silent
    (share, of_mean, logit), (_, _, _), (quiet_share, quiet, _), silent = presence.features(
        log_magnitude[None, None]
    )[0]
    assert share == pytest.approx(quiet_share, abs=1e-3) == pytest.approx(-6.02, abs=0.01)
    assert of_mean - quiet == pytest.approx(20, abs=0.1) and logit == 0
    assert np.isnan(silent).all()


def test_smoothing_keeps_a_constant_and_the_length():
    np.testing.assert_allclose(smoothed(np.full((2, 7), 0.3, np.float32), 3), 0.3, rtol=1e-6)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Five seconds in which a violin plays from 1.5 to 3.5 s over faint noise."""
    mixture, rate = read_audio(EXAMPLE, mono=True)
    separator = Separator()
    violin = separator.separate(mixture, rate, ["violin"], exclude=["person speaking"])
    sound = 1e-4 * np.random.default_rng(0).standard_normal(5 * rate).astype(np.float32)
    first, last = round(1.5 * rate), round(3.5 * rate)
    sound[first:last] += violin.targets["violin"][: last - first]
    path = tmp_path_factory.mktemp("find") / "violin.wav"
    with AudioWriter(path, rate, 1) as writer:
        writer.write(sound[None])
    return path


def test_a_sound_is_found_where_it_is(recording):
    found = find(recording, ["violin"])
    (span,) = found.sounds[0].spans
    assert span.start == pytest.approx(1.5, abs=0.35)
    assert span.end == pytest.approx(3.5, abs=0.35)
    part = find(recording, ["violin"], options=None).sounds[0].curve
    assert part.max() > 0.5 and part[:8].max() < 0.5
    waveform, rate = read_audio(recording)
    assert find(waveform, ["violin"], rate).as_dict()["sounds"] == found.as_dict()["sounds"]


def test_commands_print_what_was_found(recording, capsys, tmp_path):
    argv = [
        "find",
        str(recording),
        "-q",
        "violin",
        "--start",
        "1",
        "--plot",
        str(tmp_path / "a.png"),
    ]
    assert main([*argv, "--format", "json"]) == 0
    (sound,) = json.loads(capsys.readouterr().out)["sounds"]
    assert sound["spans"][0]["start"] == pytest.approx(1.5, abs=0.35)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["find", str(recording)]) == 2
    assert main(["find", str(recording), "-q", "violin", "--format", "xml"]) == 2
    assert main(["find", str(recording), "-q", "violin", "--threshold", "2"]) == 2


def test_scan_names_what_is_heard(recording):
    separator = Separator()
    sounds = scan(recording, separator=separator).sounds
    assert sounds and len(sounds) < 0.5 * len(separator.config.known_sounds)
    assert all(sound.spans for sound in sounds)
    # One name among all of them is less likely to be right than the same name asked for alone.
    alone = find(recording, [sounds[0].query], separator=separator).sounds[0]
    assert sounds[0].confidence < 0.5 * alone.confidence
    assert sounds[0].spans[0].confidence < 0.5 * alone.spans[0].confidence


@pytest.mark.parametrize(("count", "rarer"), [(1, 0.5), (4, 0.5), (102, 2 / 102)])
def test_a_confidence_allows_for_how_many_sounds_were_asked_for(count: int, rarer: float):
    """It is right where half of the queries are there; of all known sounds, two are."""
    sound = _as_one_of(count, FoundSound("a", 0.5, [Span(0, 1, 0.5)], np.zeros(3)))
    assert sound.confidence == pytest.approx(rarer)
    assert sound.spans[0].confidence == pytest.approx(rarer)


def test_exports():
    spans = [Span(1.0, 2.5, 0.75), Span(3.0, 4.0, 0.9)]
    sound = FoundSound("dog,\tbig", 0.9, spans, np.zeros(3))
    result = FindResult("a.wav", 5.0, 0.1, [sound])
    assert as_labels(result) == "1.000000\t2.500000\tdog, big\n3.000000\t4.000000\tdog, big\n"
    assert as_csv([result]).splitlines()[1] == r'a.wav,"dog,\tbig",1.000,2.500,0.750'


def test_what_is_not_a_search_is_refused(recording):
    from clipsep import SeparationOptions

    with pytest.raises(UsageError, match="sample rate"):
        find(np.zeros(16000, np.float32), ["violin"])
    with pytest.raises(UsageError, match="one by one"):
        find(recording, ["violin"], options=SeparationOptions(together=True))
