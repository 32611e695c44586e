"""Laws of the baselines that have a module of their own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clipsep.models.baselines import LabelSep, PITSep
from clipsep.models.clipsep import CLIPSep
from tests.helpers.networks import FEATURES, make_network, random, randomize, spectrogram

LABELS, DIM = 4, 7
CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def one_hot(*labels: int) -> torch.Tensor:
    """[B, 1, LABELS]."""
    return F.one_hot(torch.tensor(labels), LABELS).double()[:, None]


def make_labelsep() -> LabelSep:
    network = make_network("unet")
    return randomize(LabelSep(network, LABELS, DIM, feature_channels=FEATURES)).double().eval()


def test_one_hot_label_is_a_row_of_the_table():
    model, mixture = make_labelsep(), spectrogram(2)
    clipsep = CLIPSep(model.network, DIM, FEATURES).double()
    state = {k: v for k, v in model.state_dict().items() if k != "label_table"}
    clipsep.load_state_dict(state)
    rows = model.label_table[[2, 0]][:, None]
    expected = clipsep.eval()(mixture, rows).query
    torch.testing.assert_close(model(mixture, one_hot(2, 0)).query, expected, **CLOSE)
    torch.testing.assert_close(model.query_logits(mixture, one_hot(2, 0)), expected, **CLOSE)


def test_only_the_labels_of_a_batch_learn():
    model = make_labelsep()
    model(spectrogram(2), one_hot(3, 1)).query.square().mean().backward()
    learnt = model.label_table.grad.abs().amax(dim=1) > 0
    assert learnt.tolist() == [False, True, False, True]


def test_pit_masks_are_a_layer_on_the_features():
    model = randomize(PITSep(make_network("unet"), FEATURES)).double().eval()
    mixture = spectrogram(3)
    kernel = model.masks.weight[:, :, None, None]
    features = model.network.head(model.network(mixture))
    expected = F.conv2d(features, kernel, model.masks.bias)
    logits = model(mixture)
    assert logits.noise is None
    torch.testing.assert_close(logits.query, expected, **CLOSE)


def test_pit_masks_start_without_preference_as_published():
    torch.manual_seed(0)
    masks = PITSep(make_network("unet"), 512, n_sources=8).masks
    assert masks.weight.std().item() == pytest.approx(1e-3, rel=0.1)


def test_pit_ignores_queries():
    model = randomize(PITSep(make_network("unet"), FEATURES)).double().eval()
    mixture = spectrogram(2)
    expected = model(mixture).query
    assert torch.equal(model(mixture, random(2, 2, DIM)).query, expected)
    assert torch.equal(model.query_logits(mixture, random(2, 2, DIM)), expected)
