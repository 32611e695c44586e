"""Laws of audio as a query: whose audio it is, and that a model can be trained with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsep.checkpoint import load_config
from clipsep.cli.app import main
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.prepare.embed import AUDIO_SECONDS, embed
from clipsep.datasets.reader import SAMPLE_RATE, PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.plugins import TRUSTED
from clipsep.queries import load_query_encoder
from clipsep.training.load import load_inputs
from clipsep.training.train import train
from tests.helpers.datasets import make_dataset
from tests.test_plugins import config

# Where the energy of audio lies, and of which of two words one would expect that.
ENCODER = """
import numpy as np

class Listener:
    id, dim = "listener_of_tests.Listener", 8

    def __init__(self, model, device):
        pass

    def encode_texts(self, texts):
        low = np.eye(8, dtype=np.float32)[0]
        return np.stack([low if "hum" in text else np.full(8, 8**-0.5, np.float32) for text in texts])

    def encode_images(self, images):
        raise NotImplementedError

    def encode_audios(self, waveforms, sample_rate):
        assert sample_rate == 16000
        powers = [np.abs(np.fft.rfft(waveform, 1600)[1:801]) ** 2 for waveform in waveforms]
        bands = np.sqrt([power.reshape(8, 100).sum(axis=1) for power in powers])
        return (bands / np.linalg.norm(bands, axis=1, keepdims=True)).astype(np.float32)
"""
NAME = "listener_of_tests.Listener"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an encoder of one file."""
    (tmp_path / "listener_of_tests.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUSTED, "listener_of_tests")
    return tmp_path


def by_audio(root: Path, **changes):
    settings = {
        "query_encoder": NAME,
        "query": "audio",
        "prompts": "plain",
        "model": {
            "network": {"kind": "patch_unet", "widths": [4, 8]},
            "feature_channels": 4,
            "query_activation": "none",
        },
        "spectral": {"segment_frames": 64},
    }
    return config(root, **{**settings, **changes})


def embedded(root: Path, **settings) -> PreparedDataset:
    dataset = make_dataset(root, **settings)
    embed(root, NAME, audio=True, workers=1)
    return dataset


def test_audio_around_each_second_is_stored_beside_the_frames(project):
    dataset = make_dataset(project / "train", per_shard=4)
    assert main(["embed", "train", "--encoder", NAME, "--audio", "--workers", "1"]) == 0
    encoder = load_query_encoder(NAME)
    stored = StoredEmbeddings(dataset, NAME, audio=True)
    for clip in dataset.clips:
        audio = dataset.audio(clip) / np.float32(32768)
        table = stored.clip(clip)
        assert len(table) == clip.n_frames
        for second, row in enumerate(table):
            low = (second + 0.5 - AUDIO_SECONDS / 2) * SAMPLE_RATE
            part = audio[max(0, round(low)) : round(low + AUDIO_SECONDS * SAMPLE_RATE)]
            np.testing.assert_allclose(row, encoder.encode_audios([part], 16_000)[0], atol=1e-6)
    assert StoredEmbeddings(dataset, NAME).missing_shards() == dataset.shards  # of the frames


def test_the_query_is_audio_of_another_clip_with_the_label(project):
    dataset = embedded(project / "train")
    inputs = load_inputs(by_audio(project))
    stored = StoredEmbeddings(dataset, NAME, audio=True)
    owners = {}
    for clip in dataset.clips:
        owners |= {row.tobytes(): clip for row in stored.clip(clip)}
    labels = {label: number for number, label in enumerate(inputs.labels)}
    drawn = set()
    for index in range(60):
        item = inputs.mixtures[index]
        again = load_inputs(by_audio(project)).mixtures[index] if index < 3 else item
        assert np.array_equal(item.clip_query, again.clip_query)
        clips = inputs.mixtures._training_clips(index, np.random.default_rng((1234, index)))
        for clip, query, label in zip(clips, item.clip_query, item.label, strict=True):
            other = owners[query.tobytes()]
            assert other.id != clip.id and labels[other.label] == label
            drawn.add((clip.id, other.id))
    # Six clips of two labels: each is asked for by both of the others.
    assert len(drawn) == 12


def test_audio_of_the_clip_itself_needs_no_labels(project):
    dataset = embedded(project / "train", labeled=False)
    settings = {"margin": 1.0, "audio_query": "own_clip", "query_frames": 1}
    inputs = load_inputs(by_audio(project, mixing=settings))
    stored = StoredEmbeddings(dataset, NAME, audio=True)
    item = inputs.mixtures[0]
    clips = inputs.mixtures._training_clips(0, np.random.default_rng((1234, 0)))
    for clip, query in zip(clips, item.clip_query, strict=True):
        assert any(np.array_equal(query, row) for row in stored.clip(clip))
    with pytest.raises(ClipsepError, match="6 clips without another one of the same label"):
        load_inputs(by_audio(project))


def test_a_training_by_audio_is_validated_by_audio_and_text(project):
    embedded(project / "train")
    folder = train(by_audio(project), progress=False)
    scores = load_config(folder).training
    assert {"val/sdr_audio", "val/sdr_text"} <= set(scores) and "val/sdr_image" not in scores


def test_what_is_missing_is_named(project):
    make_dataset(project / "train")
    with pytest.raises(ClipsepError, match=r"lacks embeddings of its audio .* --audio'"):
        load_inputs(by_audio(project))
    with pytest.raises(
        UsageError, match="'embedded-v2' does not read audio: use one with encode_audios"
    ):
        embed(project / "train", "embedded", audio=True, workers=1)
