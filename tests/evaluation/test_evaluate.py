"""Laws of whole evaluations: what a score depends on and what not, what is counted, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.mixtures import load_sources, write_mixture_list
from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.scoring.separation import MixtureSeparator
from clipsep.metrics import bss_metrics, sdr
from tests.evaluation.conftest import LABELS
from tests.helpers.encoders import FakeEncoder

NOTHING, EVERYTHING = -1e4, 1e4  # biases that shut and open all masks


def numbers(report: Report) -> dict:
    """All but the date."""
    return {**report.to_dict(), "environment": None}


def test_processes_do_not_matter(model, mixtures, images):
    reports = [
        evaluate(model(), mixtures, "both", images=images, workers=workers) for workers in (1, 2)
    ]
    assert numbers(reports[0]) == numbers(reports[1])


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_gpu_is_used_by_one_process(mixtures, model, monkeypatch, has_gpu):
    """One per core would load the model into the GPU's memory as often."""
    counts = []

    def run(scorer, jobs, workers):
        counts.append(workers)
        return ((job, scorer(job)) for job in jobs)

    monkeypatch.setattr("clipsep.evaluation.evaluate.run_many", run)
    monkeypatch.setattr("clipsep.devices.means_gpu", lambda device: has_gpu)
    monkeypatch.setattr("clipsep.parallel.run.cores", lambda: 8)
    evaluate(model(), mixtures, device="cpu", every=4)
    assert counts == [1 if has_gpu else 8]


def test_other_mixtures_do_not_matter(model, mixtures):
    whole, some = (
        evaluate(model(), mixtures, workers=1),
        evaluate(model(), mixtures, workers=1, every=3),
    )
    assert [scored.mixture.id for scored in some.mixtures] == ["0000", "0003"]
    assert some.to_dict()["mixtures"] == whole.to_dict()["mixtures"][::3]
    assert some.mixture_list["mixtures"] == 4 and some.mixture_list["scored"] == 2


def test_the_mixture_has_the_level_of_the_list(model, mixture, tmp_path):
    path = tmp_path / "levels.csv"
    write_mixture_list(
        [mixture(number, "dog", "rain", snr_db=3.0 * number) for number in range(3)], path
    )
    report = evaluate(model(), path, workers=1)
    for number, scored in enumerate(report.mixtures):
        mixture, estimate = scored.scores["mixture"], scored.scores["text query"]
        assert mixture.sdr == pytest.approx(3.0 * number, abs=1e-3)
        assert mixture.sdr_improvement == 0
        assert estimate.sdr_improvement == pytest.approx(estimate.sdr - mixture.sdr)


def test_ideal_masks_are_better_than_any_other(model, mixtures):
    report = evaluate(model(), mixtures, workers=1)
    for scored in report.mixtures:
        for ideal in ("ideal binary mask", "ideal ratio mask"):
            assert scored.scores[ideal].sdr > max(10, scored.scores["text query"].sdr)


def test_the_other_sounds_can_be_excluded(model, mixtures, mixture, tmp_path):
    """As `exclude` of a separation does it: by the masks of their labels."""
    folder = model()
    plain, excluding = (
        evaluate(folder, mixtures, workers=1, exclude_others=asked, examples=4)
        for asked in (False, True)
    )
    assert excluding.settings["exclude_others"] and not plain.settings["exclude_others"]
    separator = MixtureSeparator(folder, "cpu", binary=False)
    embed = FakeEncoder().encode_texts
    for one, other in zip(plain.mixtures, excluding.mixtures, strict=True):
        wanted = np.asarray(embed([one.mixture.query]))
        named = np.asarray(embed([one.mixture.interferers[0].label]))
        sound = one.sounds["mixture"]
        (expected,) = separator.separate(sound, 16_000, wanted, named)
        assert np.allclose(other.sounds["text query"], expected, atol=1e-6)
        assert other.levels["text query"] < one.levels["text query"]
    with pytest.raises(UsageError, match="takes queries"):
        evaluate(model("pit"), mixtures, exclude_others=True)
    unlabelled = mixture(0, "dog", "rain")
    unlabelled = replace(unlabelled, interferers=(replace(unlabelled.interferers[0], label=None),))
    write_mixture_list([unlabelled], tmp_path / "unlabelled.csv")
    with pytest.raises(UsageError, match="what else is in it"):
        evaluate(folder, tmp_path / "unlabelled.csv", exclude_others=True)


def test_a_model_that_keeps_nothing(model, mixtures, images):
    report = evaluate(model(bias=NOTHING), mixtures, "both", images=images, binary=True, workers=1)
    assert report.silent_estimates == {"text query": 4, "image query": 4}
    for estimate in ("text query", "image query"):
        share = report.leakage(estimate)
        assert (share.mean, share.median, share.n) == (0, 0, 4)
        assert report.leakage(estimate, in_decibels=True).left_out == 4
        assert report.statistic(estimate, "sdr").mean == 0
        assert report.statistic(estimate, "sir").left_out == 4
        assert report.statistic(estimate, "sdr", skip_silent=True).n == 0


def test_a_model_that_keeps_everything(model, mixtures):
    report = evaluate(model(bias=EVERYTHING), mixtures, binary=True, workers=1)
    assert report.leakage("text query").mean == pytest.approx(1, abs=1e-3)
    assert report.statistic("text query", "sdr_improvement").mean == pytest.approx(0, abs=1e-3)
    assert report.silent_estimates == {}


def test_silent_sources_are_counted(model, mixture, tmp_path):
    path = tmp_path / "mixtures.csv"
    cases = [("dog", "rain"), ("dog", "silence"), ("silence", "rain")]
    mixtures = [mixture(number, *case, snr_db=None) for number, case in enumerate(cases)]
    write_mixture_list(mixtures, path)
    report = evaluate(model(), path, workers=1)
    assert report.silent_references == 2
    mixture = report.statistic("mixture", "sdr")
    assert (mixture.n, mixture.left_out) == (1, 2)  # plus and minus infinity
    estimate = report.statistic("text query", "sdr")
    assert (estimate.n, estimate.left_out) == (2, 1)
    assert report.statistic("text query", "sdr", skip_silent=True).n == 1


def test_published_mixtures_are_scored_as_far_as_the_published_code_does(model, mixture, tmp_path):
    path = tmp_path / "mixtures.csv"
    write_mixture_list([mixture(0, "dog", "rain", snr_db=None), mixture(1, "dog", "rain")], path)
    published, ours = evaluate(model(), path, workers=1, examples=2).mixtures
    assert published.sounds["text query"].shape == (65_280,)
    assert ours.sounds["text query"].shape == (65_535,)
    target = load_sources(published.mixture)[0, :65_280]
    assert published.scores["text query"].sdr == pytest.approx(
        float(sdr(target, published.sounds["text query"]))
    )


def test_every_interferer_is_a_reference(model, mixture, tmp_path):
    path = tmp_path / "mixtures.csv"
    write_mixture_list([mixture(0, "dog", "rain", "tuba")], path)
    (scored,) = evaluate(model(), path, workers=1, examples=1).mixtures
    expected = bss_metrics(load_sources(scored.mixture), scored.sounds["text query"])
    assert scored.scores["text query"].sir == pytest.approx(float(expected.sir), abs=1e-3)
    assert scored.scores["mixture"].sdr == pytest.approx(
        -3.01, abs=0.02
    )  # the two are uncorrelated


def test_a_model_without_queries_is_scored_by_its_best_mask(model, mixtures):
    report = evaluate(model("pit"), mixtures, workers=1)
    assert report.model_estimates == ["best of 2 masks"] and report.settings["queries"] == []
    separator = MixtureSeparator(model("pit"), "cpu", binary=False)
    for scored in report.mixtures:
        sources = load_sources(scored.mixture)
        masked = separator.separate(sources.sum(axis=0), 16_000, None)
        assert masked.shape == (2, 65_535)
        # As published the second estimate is what the first mask leaves, not the second mask's.
        assert masked.sum(axis=0) == pytest.approx(sources.sum(axis=0), abs=1e-5)
        best = max(float(sdr(sources[0], sound)) for sound in masked)
        assert scored.scores["best of 2 masks"].sdr == pytest.approx(best, abs=1e-4)
        assert not scored.leakage
    with pytest.raises(UsageError, match="takes no queries"):
        evaluate(model("pit"), mixtures, "text")


def test_a_model_of_labels_knows_no_others(model, mixtures, images, monkeypatch):
    report = evaluate(model("labelsep", labels=LABELS), mixtures, workers=1)
    assert report.model_estimates == ["text query"] and len(report.mixtures) == 4
    assert report.settings["prompts"] is None

    def never(*_: object):
        raise AssertionError("work has started")

    monkeypatch.setattr("clipsep.evaluation.evaluate.run_many", never)
    with pytest.raises(UsageError, match='"church bell" is not one of'):
        evaluate(model("labelsep", bias=1.0, labels=("dog", "rain", "tuba")), mixtures)
    with pytest.raises(UsageError, match="cannot take an image"):
        evaluate(model("labelsep", labels=LABELS), mixtures, "image", images=images)


def test_binary_masks_and_prompts_are_options(model, mixtures):
    plain = evaluate(model(), mixtures, workers=1)
    for other in ({"binary": True}, {"prompts": "ensemble"}):
        changed = evaluate(model(), mixtures, workers=1, **other)
        assert changed.mixtures[0].scores["text query"] != plain.mixtures[0].scores["text query"]
        assert changed.mixtures[0].scores["mixture"] == plain.mixtures[0].scores["mixture"]


def test_examples_are_spread_over_the_list(model, mixtures):
    report = evaluate(model(), mixtures, workers=1, examples=2)
    assert [scored.sounds is not None for scored in report.mixtures] == [True, False, False, True]
    every = evaluate(model(), mixtures, workers=1, examples=9)
    assert all(scored.sounds for scored in every.mixtures)


def test_progress_ends_where_it_said(model, mixtures):
    steps: list[tuple[float, float | None]] = []
    evaluate(model(), mixtures, workers=1, progress=lambda *step: steps.append(step))
    assert steps == [(done, 8) for done in range(9)]


def test_what_cannot_be_evaluated_is_named(model, mixtures, tmp_path):
    with pytest.raises(UsageError, match="'smell' is not a kind of query"):
        evaluate(model(), mixtures, "smell")
    with pytest.raises(UsageError, match="There is no model"):
        evaluate(tmp_path / "none", mixtures)
    with pytest.raises(UsageError, match=r"no images in .* those of 'dog' belong"):
        evaluate(model(), mixtures, "image", images=tmp_path / "none")
    with pytest.raises(ClipsepError, match="Mixture 0000 names no frames"):
        evaluate(model(), mixtures, "image")
    with pytest.raises(UsageError, match='Unknown prompt set "song"'):
        evaluate(model(), mixtures, prompts="song")
    mixtures.with_name("church bell.wav").unlink()
    with pytest.raises(UsageError, match=r"line 3: the sound '.*church bell\.wav'"):
        evaluate(model(), mixtures)


def test_a_sound_that_cannot_be_read_ends_the_evaluation(model, mixtures):
    mixtures.with_name("tuba.wav").write_bytes(b"no sound")
    with pytest.raises(ClipsepError, match=r"tuba\.wav"):
        evaluate(model(), mixtures, workers=1)


def test_the_list_may_lie_elsewhere(model, mixtures, tmp_path):
    moved = tmp_path / "lists" / "mixtures.csv"
    moved.parent.mkdir()
    moved.write_bytes(mixtures.read_bytes())
    report = evaluate(model(), moved, root=Path(tmp_path), workers=1)
    assert np.isfinite(report.statistic("text query", "sdr").mean)
