"""Laws of the Separator: parts add up to the mixture, shapes and names come back, bad input is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsep import ClipsepError, Separator, UsageError
from clipsep.checkpoint import Checkpoint, CheckpointConfig
from clipsep.engines.pytorch import PyTorchEngine
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.spectral import SpectralSettings
from tests.helpers.audio import write

RATE = 16000


class HashEncoder:
    """Embeddings that differ from query to query and mean nothing."""

    id, dim = "hash", 8

    def encode_texts(self, texts):
        return torch.stack([self._embedding(sum(map(ord, text))) for text in texts])

    def encode_images(self, images):
        return torch.stack(
            [self._embedding(sum(im.resize((1, 1)).getpixel((0, 0)))) for im in images]
        )

    def _embedding(self, seed: int) -> torch.Tensor:
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))


def checkpoint(encoder: str = "hash", **model) -> Checkpoint:
    torch.manual_seed(0)
    settings = ModelSettings(
        network=PatchUNetSettings(widths=(4, 8)),
        feature_channels=4,
        query_dim=8,
        query_activation="none",
        **model,
    )
    config = CheckpointConfig(
        name="tiny",
        model=settings,
        spectral=SpectralSettings(level="relative", log_floor=1e-4, segment_frames=64),
        query_encoder=encoder,
    )
    return Checkpoint(config, build_model(settings).eval(), Path("nowhere"))


def make_separator(checkpoint: Checkpoint, encoder: HashEncoder) -> Separator:
    return Separator(checkpoint.config, PyTorchEngine(checkpoint.model), encoder)


@pytest.fixture(scope="module")
def separator() -> Separator:
    return make_separator(checkpoint(), HashEncoder())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(20000,), (1, 20000), (2, 50000), (8, 9000)])
def test_targets_and_residual_add_up_and_are_shaped_as_the_input(separator, shape):
    mixture = noise(*shape)
    result = separator.separate(mixture, RATE, ["dog barking", "rain"])
    assert list(result.targets) == ["dog barking", "rain"]
    for part in (*result.targets.values(), result.residual):
        assert part.shape == shape and part.dtype == np.float32
    assert np.abs(sum(result.targets.values()) + result.residual - mixture).max() < 1e-5


def test_one_call_for_many_queries_gives_what_many_calls_give(separator):
    mixture = noise(2, 40000)
    both = separator.separate(mixture, 44100, ["dog", "rain"])
    for query in ("dog", "rain"):
        alone = separator.separate(mixture, 44100, [query])
        assert np.abs(alone.targets[query] - both.targets[query]).max() < 1e-5
    assert np.abs(both.targets["dog"] - both.targets["rain"]).max() > 1e-3


def test_masks_do_not_depend_on_loudness(separator):
    mixture = noise(30000)
    loud = separator.separate(mixture, RATE, ["dog"]).targets["dog"]
    quiet = separator.separate(0.01 * mixture, RATE, ["dog"]).targets["dog"]
    assert np.abs(100 * quiet - loud).max() < 1e-3 * np.abs(loud).max()


def test_a_stream_gives_what_one_call_gives(separator):
    mixture = noise(2, 70001)
    whole = separator.separate(mixture, RATE, ["dog"])
    blocks = separator.stream(np.array_split(mixture, 23, axis=1), RATE, ["dog"])
    streamed = np.concatenate([block.targets["dog"] for block in blocks], axis=1)
    assert np.abs(streamed - whole.targets["dog"]).max() < 1e-6


def test_torch_and_float64_waveforms_are_taken(separator):
    mixture = noise(20000)
    expected = separator.separate(mixture, RATE, ["dog"]).residual
    for same in (torch.from_numpy(mixture), mixture.astype(np.float64), mixture.tolist()):
        assert np.allclose(separator.separate(same, RATE, ["dog"]).residual, expected, atol=1e-6)


def test_binary_masks_keep_or_drop_and_soft_ones_do_neither(separator):
    mixture = noise(40000)
    soft = separator.separate(mixture, RATE, ["dog"]).targets["dog"]
    binary = separator.separate(mixture, RATE, ["dog"], binary=True).targets["dog"]
    assert np.abs(soft - binary).max() > 1e-2


def test_images_are_queries_too(separator, tmp_path):
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    red.save(tmp_path / "red.png")
    mixture = noise(20000)
    result = separator.separate(mixture, RATE, [red, blue, tmp_path / "red.png", "dog"])
    assert list(result.targets) == ["image 1", "image 2", "red.png", "dog"]
    assert np.array_equal(result.targets["image 1"], result.targets["red.png"])
    named = separator.separate(mixture, RATE, [str(tmp_path / "red.png")])
    assert np.allclose(named.targets["red.png"], result.targets["red.png"], atol=1e-5)


@pytest.mark.parametrize(
    ("waveform", "sentence"),
    [
        (np.zeros(0), "0 samples"),
        (np.zeros(1), "1 sample"),
        (np.array([0.0] * 999 + [np.nan]), "NaN or infinite samples, first at 0.062 s"),
        (np.array([np.inf] * 999), "first at 0.000 s"),
        (np.array([0.5] * 999 + [-2e12]), r"beyond 1e\+12, first at 0.062 s"),
    ],
)
def test_unfit_sound_is_named(separator, waveform, sentence):
    with pytest.raises(ClipsepError, match=sentence):
        separator.separate(waveform, RATE, ["dog"])


@pytest.mark.parametrize("binary", [False, True])
def test_a_model_that_gives_no_numbers_is_named(tmp_path, binary):
    damaged = checkpoint()
    with torch.no_grad():
        for weights in damaged.model.parameters():
            weights.fill_(torch.nan)
    separator = make_separator(damaged, HashEncoder())
    path = write(tmp_path / "in.wav", noise(1, 20000), RATE)
    with pytest.raises(ClipsepError, match="'tiny' gives NaN"):
        separator.separate_file(path, ["dog"], tmp_path / "out", binary=binary)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("queries", "sentence"),
    [
        ([], "no query"),
        ([" "], "is empty"),
        (["dog", "dog"], "given twice"),
        (["missing.png"], "does not exist"),
        (["residual"], "another query"),
    ],
)
def test_unfit_queries_are_named(separator, queries, sentence):
    with pytest.raises(UsageError, match=sentence):
        separator.separate(noise(9000), RATE, queries)


def test_wrong_shapes_and_rates_are_named(separator):
    with pytest.raises(UsageError, match="shape"):
        separator.separate(noise(1, 2, 3), RATE, ["dog"])
    with pytest.raises(UsageError, match="sample rate"):
        separator.separate(noise(9000), 0, ["dog"])


def test_a_change_of_channels_within_a_stream_is_named(separator):
    with pytest.raises(UsageError, match="2 channels, those before had 1"):
        list(separator.stream([noise(9000), noise(2, 9000)], RATE, ["dog"]))


def test_another_encoder_is_refused_by_name():
    with pytest.raises(UsageError, match="'embedded-v2' and works with no other, not 'hash'"):
        make_separator(checkpoint(encoder="embedded-v2"), HashEncoder())


def test_a_model_without_queries_is_refused():
    with pytest.raises(UsageError, match="takes no queries"):
        make_separator(checkpoint(kind="pit"), HashEncoder())


class Listener(HashEncoder):
    def encode_audios(self, waveforms, sample_rate):
        assert sample_rate == RATE
        return np.stack([self._embedding(len(one)).numpy() for one in waveforms])


def test_a_recording_asks_for_what_sounds_like_it(tmp_path):
    """At any rate and with any number of channels; a text that looks like a path stays a text."""
    path = write(tmp_path / "like this.wav", np.zeros((2, 12_000), np.float32), 2 * RATE)
    separator = make_separator(checkpoint(), Listener())
    encoded = separator.encode([path, str(path)])
    assert encoded.names == ["like this.wav", str(path)]
    assert np.array_equal(encoded.embeddings[0], Listener()._embedding(6_000).numpy())
    assert not np.array_equal(*encoded.embeddings)
    with pytest.raises(UsageError, match="'hash' does not read audio"):
        make_separator(checkpoint(), HashEncoder()).encode([path])


def test_a_list_gives_what_one_by_one_gives(separator, tmp_path):
    path = write(tmp_path / "in.wav", noise(2, 70001), 22050)
    recordings = [noise(2, 40000), noise(9000), path, str(path)]
    rates = [RATE, 8000, None, None]
    together = separator.separate(recordings, rates, ["dog", "rain"], sensitivity=0.6)
    queries = separator.encode(["dog", "rain"])
    for result, recording, rate in zip(together, recordings, rates, strict=True):
        alone = separator.separate(recording, rate, queries, sensitivity=0.6)
        assert result.sample_rate == alone.sample_rate
        assert np.abs(result.residual - alone.residual).max() <= 1e-5
        for name, target in alone.targets.items():
            assert result.targets[name].shape == target.shape
            assert np.abs(result.targets[name] - target).max() <= 1e-5
    assert separator.separate([], RATE, ["dog"]) == []


def test_queries_of_a_list_are_read_once(monkeypatch):
    encoder = HashEncoder()
    texts = []
    encode = encoder.encode_texts
    monkeypatch.setattr(encoder, "encode_texts", lambda given: texts.append(given) or encode(given))
    make_separator(checkpoint(), encoder).separate([noise(9000)] * 3, RATE, ["dog"])
    assert len(texts) == 1


def test_a_file_in_memory_is_its_waveform(separator, tmp_path):
    mixture = 0.1 * noise(2, 50000)
    path = write(tmp_path / "in.wav", mixture, RATE)
    expected = separator.separate(mixture[:, 16000:32000], RATE, ["dog"])
    part = separator.separate(path, queries=["dog"], start=1.0, end=2.0)
    assert part.sample_rate == RATE
    assert np.abs(part.targets["dog"] - expected.targets["dog"]).max() < 1e-3  # 16 bits


def test_what_is_wrong_in_a_list_is_named(separator, tmp_path):
    with pytest.raises(ClipsepError, match=r"^Recording 2 of 2: .* too short, 3 samples"):
        separator.separate([noise(9000), noise(3)], RATE, ["dog"])
    with pytest.raises(UsageError, match=r"^Recording 1 of 1: .*missing\.wav does not exist"):
        separator.separate([tmp_path / "missing.wav"], queries=["dog"])
    with pytest.raises(UsageError, match=r"^Recording 1 of 1: .* needs its sample rate"):
        separator.separate([noise(9000)], queries=["dog"])
    with pytest.raises(UsageError, match="1 recording and 2 sample rates"):
        separator.separate([noise(9000)], [RATE, RATE], ["dog"])


def test_progress_rises_to_the_length_of_what_is_separated(separator, tmp_path):
    heard = []

    def note(done: float, total: float | None) -> None:
        heard.append((done, total))

    separator.separate(noise(80000), RATE, ["dog"], progress=note)
    _check_progress(heard, 5.0, 5.0)
    path = write(tmp_path / "in.wav", noise(1, 32000), RATE)
    separator.separate([noise(2, 16000), path], RATE, ["dog"], progress=note)
    _check_progress(heard, 3.0, 3.0)
    blocks = np.array_split(noise(80000), 7)
    for _ in separator.stream(blocks, RATE, ["dog"], progress=note):
        assert heard  # before each result
    _check_progress(heard, 5.0, None)


def _check_progress(heard: list[tuple[float, float | None]], end: float, total: float | None):
    done = [seconds for seconds, _ in heard]
    assert len(done) > 1
    assert done == sorted(done)
    assert done[-1] == pytest.approx(end)
    assert {whole for _, whole in heard} == {total}
    heard.clear()


@pytest.mark.parametrize("overlap", [-0.1, 0.6, 1.0, float("nan")])
def test_an_overlap_out_of_bounds_is_refused(overlap):
    tiny = checkpoint()
    with pytest.raises(UsageError, match=r"from 0 to 0\.5"):
        Separator(tiny.config, PyTorchEngine(tiny.model), HashEncoder(), overlap)
