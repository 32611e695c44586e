"""Laws of mix-and-separate: reproducible, complete epochs, the published segment and level."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import DatasetWriter
from clipsep.errors import ClipsepError
from clipsep.training.data.mixing import MixtureDataset, _cosine, _stretch, cut_segment
from clipsep.training.data.settings import MixingSettings
from tests.helpers.datasets import LABELS, make_dataset

SAMPLES = 65535


def dataset(prepared: PreparedDataset, train: bool = True, **settings) -> MixtureDataset:
    return MixtureDataset(
        prepared,
        StoredEmbeddings(prepared, "tiny"),
        list(LABELS),
        MixingSettings(**settings),
        SAMPLES,
        seed=7,
        train=train,
        length=100,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedDataset:
    return make_dataset(tmp_path_factory.mktemp("prepared"))


def test_an_item_is_a_function_of_seed_and_index(prepared: PreparedDataset):
    one, two = dataset(prepared), dataset(prepared)
    two[3], two[40]  # whatever was read before
    for index in (0, 5, 99):
        for a, b in zip(one[index], two[index], strict=True):
            assert np.array_equal(a, b)
    assert not np.array_equal(one[0].sources, one[len(prepared)].sources)


def test_clips_are_those_of_all_earlier_runs(prepared: PreparedDataset):
    """The first of each item, and its partners: a run that an older version began must go on."""
    items = dataset(prepared, n_sources=3)
    clips = [items._training_clips(i, np.random.default_rng((7, i))) for i in range(12)]
    drawn = ["".join(clip.id.split("-")[1][0] for clip in item) for item in clips]
    assert drawn[:6] == ["420", "520", "134", "204", "354", "051"]
    assert drawn[6:] == ["025", "145", "520", "320", "240", "421"]


def test_partners_are_other_clips_all_alike(prepared: PreparedDataset):
    items = dataset(prepared)
    pairs = [items._training_clips(i, np.random.default_rng(i)) for i in range(3000)]
    counts = np.zeros((6, 6), int)
    for first, partner in pairs:
        counts[int(first.id.split("-")[1][0]), int(partner.id.split("-")[1][0])] += 1
    assert not counts.diagonal().any()
    several = dataset(prepared, n_sources=4)
    for index in range(50):
        clips = several._training_clips(index, np.random.default_rng(index))
        assert len({clip.id for clip in clips}) == 4  # nor any other clip twice, as published
    others = counts[~np.eye(6, dtype=bool)]
    assert others.min() > 60 and others.max() < 140  # 100 each, and four standard deviations


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["none", "shuffled"])
def test_no_label_reaches_a_training_by_images(
    tmp_path: Path, prepared: PreparedDataset, labels: str
):
    """With labels, without any, and with wrong ones, the same sounds are mixed and asked for."""
    names = ("hiss", "hum") if labels == "shuffled" else LABELS
    other = make_dataset(tmp_path, labeled=labels != "none", labels=names)
    settings = {
        "single_source_prob": 0.5,
        "extra_source_prob": 0.5,
        "jitter": 0.3,
        "target_rms": 0.1,
        "n_sources": 3,
    }
    known, unknown = dataset(prepared, **settings), dataset(other, **settings)
    for index in range(60):
        assert np.array_equal(known[index].sources, unknown[index].sources)
        assert np.array_equal(known[index].clip_query, unknown[index].clip_query)


def test_every_item_draws_anew(prepared: PreparedDataset):
    items = dataset(prepared, target_rms=0.1)
    levels = [np.sqrt(np.mean(items[index].sources ** 2, axis=1)) for index in range(30)]
    assert len({level.tobytes() for level in levels}) == 30


def test_no_clip_comes_twice_in_an_epoch(prepared: PreparedDataset):
    items = dataset(prepared)
    for epoch in range(3):
        indices = range(epoch * len(prepared), (epoch + 1) * len(prepared))
        rng = np.random.default_rng(0)
        first = {items._training_clips(index, rng)[0].id for index in indices}
        assert len(first) == len(prepared)


def test_shapes_labels_and_queries_belong_together(prepared: PreparedDataset):
    item = dataset(prepared, n_sources=3)[1]
    assert item.sources.shape == (3, SAMPLES) and item.sources.dtype == np.float32
    assert item.clip_query.shape == (3, 4)
    assert (item.clip_query.argmax(axis=1) == item.label).all()
    # A tone is periodic, noise is not: the sound is the label's too.
    for source, label in zip(item.sources, item.label, strict=True):
        spectrum = np.abs(np.fft.rfft(source))
        assert (spectrum.max() > 100 * np.median(spectrum)) == (LABELS[label] == "hum")


def test_sources_are_divided_by_their_number_after_the_gain(prepared: PreparedDataset):
    for index in range(8):
        item = dataset(prepared, target_rms=0.1, gain_range=(0.5, 1.5))[index]
        rms = np.sqrt(np.mean(item.sources**2, axis=1))
        assert (rms >= 0.1 * 0.5 / 2 - 1e-4).all() and (rms <= 0.1 * 1.5 / 2 + 1e-4).all()


@pytest.mark.parametrize("n_sources", [2, 4])
def test_validation_partners_are_those_of_the_published_rule(prepared, n_sources):
    """random.seed(index), then a sample of the list without the clip itself; whatever the seed."""
    items = dataset(prepared, train=False, n_sources=n_sources)
    for index in range(len(prepared)):
        random.seed(index)
        candidates = [*range(index), *range(index + 1, len(prepared))]
        expected = [index, *random.sample(candidates, n_sources - 1)]
        clips = items._test_clips(index, np.random.default_rng(0))
        assert clips == [prepared.clips[number] for number in expected]


@pytest.mark.parametrize("partner", ["any", "other_label"])
def test_validation_is_the_middle_without_gain(prepared: PreparedDataset, partner: str):
    items = dataset(prepared, train=False, validation_partner=partner)
    same = 0
    for index in range(len(prepared)):
        item, clip = items[index], prepared.clips[index]
        same += item.label[0] == item.label[1]
        assert not np.array_equal(item.sources[0], item.sources[1])
        middle = cut_segment(
            prepared.audio(clip), round((clip.n_frames // 2 - 0.5) * 16000), SAMPLES
        )
        assert np.array_equal(item.sources[0], middle / 2)
    assert (same == 0) == (partner == "other_label")


def test_centres_keep_the_margin_and_short_clips_work(prepared: PreparedDataset):
    items = dataset(prepared, margin=3)
    rng = np.random.default_rng(0)
    centres = [items._centre_frame(10, rng) for _ in range(300)]
    assert set(centres) == {3, 4, 5, 6}
    assert {items._centre_frame(n, rng) for n in (1, 2, 5, 6)} <= {0, 1, 2, 3}


def test_centres_follow_the_published_count_of_frames(tmp_path: Path, monkeypatch):
    """Twelve frames for ten seconds: centres from 3.5 to 8.5 s in training, and 5.5 s in validation."""
    prepared = make_dataset(tmp_path, seconds=10.0)
    centres: set[float] = set()

    def noted(audio: np.ndarray, centre: int, samples: int) -> np.ndarray:
        centres.add(centre / 16_000)
        return cut_segment(audio, centre, samples)

    monkeypatch.setattr("clipsep.training.data.mixing.cut_segment", noted)
    for extra, last, middle in ((0, 6.5, 4.5), (2, 8.5, 5.5)):
        for train, expected in ((True, set(np.arange(3.5, last + 1))), (False, {middle})):
            centres.clear()
            items = dataset(prepared, train=train, extra_frames=extra, margin=3.0)
            for index in range(40):
                items[index]
            assert centres == expected


def test_segments_are_padded_at_the_ends_and_repeated_when_short():
    sound = np.arange(1, 101, dtype=np.int16)
    assert np.array_equal(cut_segment(sound, 50, 11) * 32768, np.arange(46, 57))
    assert np.array_equal(cut_segment(sound, 0, 11)[:5], np.zeros(5))
    assert cut_segment(sound, 0, 11)[5] * 32768 == 1
    assert np.array_equal(cut_segment(sound, 99, 11)[6:], np.zeros(5))
    repeated = cut_segment(sound, 0, 250) * 32768
    assert np.array_equal(repeated[:-100], repeated[100:]) and (repeated > 0).all()


def test_one_clip_cannot_be_mixed(tmp_path: Path):
    DatasetWriter(tmp_path)
    prepared = make_dataset(tmp_path, clips=1)
    with pytest.raises(ClipsepError, match="at least"):
        dataset(prepared)


def test_solo_mixtures_hold_their_first_source_only(prepared: PreparedDataset):
    plain, solo = dataset(prepared), dataset(prepared, single_source_prob=0.5)
    alone = 0
    for index in range(40):
        before, after = plain[index].sources, solo[index].sources
        np.testing.assert_array_equal(before[0], after[0])
        if not after[1].any():
            alone += 1
        else:
            np.testing.assert_array_equal(before[1], after[1])
    assert 10 < alone < 30
    assert dataset(prepared, train=False, single_source_prob=1.0)[0].sources[1].any(), (
        "validation stays as it is"
    )


def test_more_sounds_join_the_mixture_and_change_nothing_else(prepared: PreparedDataset):
    plain, more = dataset(prepared), dataset(prepared, extra_source_prob=0.5)
    counts = []
    for index in range(60):
        before, after = plain[index], more[index]
        np.testing.assert_array_equal(before.sources, after.sources[:2])
        np.testing.assert_array_equal(before.clip_query, after.clip_query)
        first, second = (row.any() for row in after.sources[2:])
        assert first or not second
        counts.append(int(first) + int(second))
    shares = np.bincount(counts, minlength=3) / len(counts)
    assert shares[0] > 0.3 and shares[1] > 0.1 and shares[2] > 0.1
    assert len(dataset(prepared, train=False, extra_source_prob=1.0)[0].sources) == 2, (
        "validation stays as it is"
    )


def test_a_silent_partner_is_of_another_kind_than_what_sounds(prepared: PreparedDataset):
    """Up to the luck of three draws, where half of the clips are of the first one's kind."""
    items = dataset(prepared, single_source_prob=1.0)
    same = np.mean([item.label[0] == item.label[1] for item in map(items.__getitem__, range(100))])
    assert same < 0.25
    for a, b in zip(items[5], dataset(prepared, single_source_prob=1.0)[5], strict=True):
        assert np.array_equal(a, b)


def test_without_images_it_is_the_labels_that_tell_sounds_of_a_kind(prepared: PreparedDataset):
    settings = MixingSettings(single_source_prob=1.0)
    items = MixtureDataset(prepared, None, list(LABELS), settings, SAMPLES, 7, True, 300)
    pairs = [items[index] for index in range(300)]
    assert all(item.sources[0].any() and not item.sources[1:].any() for item in pairs)
    same = np.mean([item.label[0] == item.label[1] for item in pairs])
    alike = np.mean(
        [item.label[0] == item.label[1] for item in map(dataset(prepared).__getitem__, range(100))]
    )
    assert same < 0.5 * alike, "what is drawn again is of another kind, if a few draws find one"


EFFECTS = {
    "changed_prob": 1.0, "reverb_prob": 1.0, "equalizer_db": 3.0,
    "noise_prob": 1.0, "clipping_prob": 1.0, "codec_prob": 1.0,
}  # fmt: skip


def test_a_mixture_can_go_through_rooms_and_recorders(prepared: PreparedDataset):
    """The sources change as a room changes them; what the recorder adds is in a row of its own."""
    one, two = (dataset(prepared, augment=EFFECTS) for _ in range(2))
    two[3]
    item, plain = one[5], dataset(prepared)[5]
    assert np.array_equal(item.sources, two[5].sources), "a function of seed and index"
    assert not np.array_equal(item.sources, one[5 + len(prepared)].sources)
    assert item.sources.shape == (3, SAMPLES) and item.sources.dtype == np.float32
    assert len(item.clip_query) == len(item.label) == 2
    for changed, source in zip(item.sources, plain.sources, strict=False):
        assert 0.1 < np.corrcoef(changed, source)[0, 1] < 0.999
    share = np.square(item.sources[2]).sum() / np.square(item.sources.sum(axis=0)).sum()
    assert 1e-4 < share < 10


def test_effects_change_only_what_they_are_for(prepared: PreparedDataset):
    plain = dataset(prepared)[5].sources
    rooms = dataset(prepared, augment={"changed_prob": 1.0, "reverb_prob": 1.0})[5].sources
    assert not rooms[2].any(), "a room is no recorder"
    noisy = dataset(prepared, augment={"noise_prob": 1.0})[5].sources
    assert np.array_equal(noisy[:2], plain) and noisy[2].any()
    silent = dataset(prepared, single_source_prob=1.0, augment=EFFECTS)[5].sources
    assert not silent[1].any(), "silence stays silence in any room"
    assert np.array_equal(dataset(prepared, augment={})[5].sources, plain)
    assert len(dataset(prepared, train=False, augment=EFFECTS)[5].sources) == 2, "nor in validation"


def test_likeness_is_that_of_directions():
    a, b = np.array([3.0, 0.0]), np.array([1.0, 1.0])
    for gain in (1e-3, 1.0, 50.0):
        assert _cosine(gain * a, b) == pytest.approx(0.5**0.5)
        assert _cosine(a, gain * b) == pytest.approx(0.5**0.5)
    assert _cosine(0 * a, b) == 0


def test_more_sounds_are_no_clips_of_the_mixture(prepared: PreparedDataset, monkeypatch):
    drawn: list[str] = []
    items = dataset(prepared, extra_source_prob=1.0)
    draw = items._draw
    monkeypatch.setattr(items, "_draw", lambda clip, rng: drawn.append(clip.id) or draw(clip, rng))
    repeats = 0
    for index in range(60):
        drawn.clear()
        items[index]
        repeats += len(set(drawn[:2])) + 2 - len(set(drawn))
    assert repeats < 25, "of 120 draws, about 50 without drawing again"


@pytest.mark.parametrize("train", [True, False])
def test_centres_move_off_their_frames_in_training_alone(prepared, monkeypatch, train: bool):
    centres: list[float] = []

    def cut(audio: np.ndarray, centre: int, samples: int) -> np.ndarray:
        centres.append(centre / 16_000)
        return cut_segment(audio, centre, samples)

    monkeypatch.setattr("clipsep.training.data.mixing.cut_segment", cut)
    items = dataset(prepared, train, jitter=0.3)
    for index in range(100):
        items[index]
    offsets = np.array(centres) % 1 - 0.5  # frames lie in the middle of their seconds
    assert len(offsets) == 200
    if train:
        assert -0.3 <= offsets.min() < -0.25 and 0.25 < offsets.max() <= 0.3
        assert abs(offsets.mean()) < 0.05
    else:
        assert not offsets.any()


def test_speed_changes_pitch_and_keeps_the_length(prepared: PreparedDataset):
    """The tones of the prepared's "hum" clips, 200 to 400 Hz, move by up to a fifth and no further."""
    plain, changed = (
        dataset(prepared, gain_range=(1, 1)),
        dataset(prepared, gain_range=(1, 1), speed_perturb=0.2),
    )
    ratios = []
    for index in range(30):
        if plain[index].label[0] != LABELS.index("hum"):
            continue
        assert changed[index].sources.shape == plain[index].sources.shape
        tones = [np.abs(np.fft.rfft(item[index].sources[0])).argmax() for item in (changed, plain)]
        ratios.append(tones[0] / tones[1])
    assert 0.78 < min(ratios) < 0.95 and 1.05 < max(ratios) < 1.22


def test_frames_of_a_query_can_be_seconds_apart(tmp_path):
    dataset = make_dataset(tmp_path, seconds=9.0)
    embeddings = StoredEmbeddings(dataset, "numbered")
    for shard in dataset.shards:
        offsets = dataset.frame_offsets(shard)
        rows = np.concatenate([np.arange(n) for n in np.diff(offsets)])
        embeddings.write(shard, rows[:, None].astype(np.float32) ** 2)
    for stride, expected in ((1, [3, 4, 5]), (2, [2, 4, 6]), (9, [0, 4, 8])):
        settings = MixingSettings(frame_stride=stride, margin=0)
        mixtures = MixtureDataset(dataset, embeddings, [], settings, 1024, 0, train=False)
        query = mixtures._query(dataset.clips[0], 4, np.random.default_rng(0))
        assert query[0] == pytest.approx(np.mean(np.square(expected)))


@pytest.mark.parametrize("samples", [50, 100, 173])
def test_another_speed_keeps_the_ends_and_all_between(samples: int):
    ramp = np.linspace(-1, 1, 100, dtype=np.float32)
    np.testing.assert_allclose(_stretch(ramp, samples), np.linspace(-1, 1, samples), atol=1e-6)
