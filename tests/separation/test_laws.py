"""Laws of separation, for any rate, channels, length, blocks and queries that hypothesis thinks of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsep import Separator
from clipsep.checkpoint import CheckpointConfig
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.separation.separator import EncodedQueries, SeparationResult
from clipsep.spectral import SpectralSettings

QUERY_DIM = 4
# The same examples in every run, so that a test does not fail by chance; `make fuzz` has more of them.
LAW = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15
)


class LinearEngine:
    """Logits that are linear in the query and depend on place and loudness, at no cost."""

    name, device = "linear", "cpu"

    def mask_logits(self, log_magnitude: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
        image = log_magnitude[:, 0]
        bands = np.linspace(-3, 3, image.shape[1], dtype=np.float32)[None, :, None]
        features = [np.ones_like(image), image, bands * np.ones_like(image), np.sin(image)]
        return np.einsum("nd,dbft->bnft", queries, np.stack(features)).astype(np.float32)


@st.composite
def tasks(draw: st.DrawFn) -> dict:
    """A recording, its rate, queries, and the sizes of the blocks that it may arrive in."""
    rate = draw(st.sampled_from([1_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000]))
    channels = draw(st.integers(1, 4))
    samples = draw(st.integers(round(0.02 * rate) + 1, round(2.5 * rate)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "tone", "clicks", "constant", "quiet", "loud"]))
    return {
        "waveform": waveform(kind, channels, samples, rng),
        "rate": rate,
        "queries": rng.standard_normal((draw(st.integers(1, 4)), QUERY_DIM)).astype(np.float32),
        "sizes": draw(st.lists(st.integers(1, rate), min_size=1, max_size=5)),
        "binary": draw(st.booleans()),
    }


def waveform(kind: str, channels: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """[C, T] float32."""
    noise = rng.standard_normal((channels, samples))
    made = {
        "noise": lambda: 0.1 * noise,
        "tone": lambda: 0.5 * np.sin(rng.uniform(0.01, 3) * np.arange(samples)) + 1e-3 * noise,
        "clicks": lambda: noise * (rng.random((channels, samples)) < 0.01),
        "constant": lambda: np.full((channels, samples), 0.3),
        "quiet": lambda: 1e-6 * noise,
        "loud": lambda: 1e3 * noise,
    }[kind]()
    return np.ascontiguousarray(made, np.float32)


def separate(task: dict, scale: float = 1.0, order: list[int] | None = None, **changes):
    task = {**task, **changes}
    order = range(len(task["queries"])) if order is None else order
    queries = EncodedQueries([f"query {i}" for i in order], task["queries"][list(order)])
    waveform = np.float32(scale) * task["waveform"]
    return separator().separate(waveform, task["rate"], queries, binary=task["binary"])


def separator(level: str = "relative") -> Separator:
    """With masks that do not depend on the level."""
    config = CheckpointConfig(
        name="linear",
        model=ModelSettings(network=PatchUNetSettings(), query_dim=QUERY_DIM),
        spectral=SpectralSettings(level=level, log_floor=1e-4, segment_frames=64),
        query_encoder="any",
    )
    return Separator(config, LinearEngine())


def stacked(result: SeparationResult) -> np.ndarray:
    """Targets and residual, [N + 1, C, T]."""
    return np.stack([*result.targets.values(), result.residual])


def error(found: np.ndarray, expected: np.ndarray, task: dict) -> float:
    """The largest difference, relative to the loudest sample of the mixture."""
    return np.abs(found - expected).max() / max(np.abs(task["waveform"]).max(), 1e-20)


@LAW
@given(tasks())
def test_parts_are_as_long_as_the_mixture_and_add_up_to_it(task):
    result = separate(task)
    parts = stacked(result)
    assert parts.shape[1:] == task["waveform"].shape and parts.dtype == np.float32
    assert error(parts.sum(axis=0, dtype=np.float64), task["waveform"], task) < 1e-5


@LAW
@given(tasks())
def test_the_same_sound_gives_the_same_bits_and_is_left_as_it_was(task):
    before = task["waveform"].copy()
    first = stacked(separate(task))
    np.testing.assert_array_equal(stacked(separate(task)), first)
    np.testing.assert_array_equal(task["waveform"], before)


@LAW
@given(tasks(), st.randoms())
def test_the_order_of_queries_is_the_order_of_the_targets(task, chance):
    order = list(range(len(task["queries"])))
    chance.shuffle(order)
    plain, shuffled = separate(task).targets, separate(task, order=order).targets
    assert list(shuffled) == [f"query {i}" for i in order]
    for name in plain:
        np.testing.assert_array_equal(shuffled[name], plain[name])


@LAW
@given(tasks())
def test_the_sizes_of_blocks_change_nothing_but_rounding(task):
    # Rounding may move a value across zero, where a mask of 0 and 1 jumps.
    task["binary"] = False
    names = [f"query {i}" for i in range(len(task["queries"]))]
    queries = EncodedQueries(names, task["queries"])
    starts = np.cumsum([0, *task["sizes"] * (1 + task["waveform"].shape[1])])
    starts = starts[starts < task["waveform"].shape[1]][:50]
    blocks = np.split(task["waveform"], starts[1:], axis=1)
    pieces = list(separator().stream(blocks, task["rate"], queries))
    joined = np.concatenate([stacked(piece) for piece in pieces], axis=-1)
    whole = stacked(separate(task))
    assert joined.shape == whole.shape
    assert error(joined, whole, task) < 1e-5


@LAW
@given(tasks())
def test_silence_stays_silence(task):
    task["waveform"] = np.zeros_like(task["waveform"])
    assert not stacked(separate(task)).any()


@LAW
@given(tasks(), st.floats(-40, 40))
def test_a_louder_mixture_has_louder_parts(task, decibels):
    # The floor of the logarithm stands still, and what is near it must not matter here.
    task["waveform"] = waveform("noise", *task["waveform"].shape, np.random.default_rng(1))
    task["binary"] = False
    scale = 10 ** (decibels / 20)
    louder = stacked(separate(task, scale))
    assert error(louder / scale, stacked(separate(task)), task) < 1e-4


@LAW
@given(st.lists(tasks(), min_size=2, max_size=4))
def test_threads_do_not_disturb_each_other(several):
    alone = [stacked(separate(task)) for task in several]
    with ThreadPoolExecutor(len(several)) as threads:
        together = list(threads.map(separate, several))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(stacked(other), one)


@pytest.mark.parametrize("channels", [1, 2])
def test_files_are_as_long_as_the_recording(tmp_path: Path, channels: int):
    import soundfile

    samples = 30_011
    sound = waveform("noise", channels, samples, np.random.default_rng(0))
    soundfile.write(tmp_path / "in.wav", sound.T, 44_100, subtype="FLOAT")
    queries = EncodedQueries(["one", "two"], np.eye(2, QUERY_DIM, dtype=np.float32))
    report = separator().separate_file(tmp_path / "in.wav", queries, tmp_path, residual=True)
    parts = [soundfile.read(track.path, always_2d=True)[0].T for track in report.tracks]
    assert np.abs(sum(parts) - sound).max() < 1e-5
