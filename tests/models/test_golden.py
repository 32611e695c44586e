"""The published numbers, through the importer: same weights in, same masks, sounds and losses out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from clipsep.checkpoint import load_checkpoint
from clipsep.models.clipsep import MaskLogits
from clipsep.models.transforms import apply_mask, from_bands, istft, stft
from clipsep.paper.checkpoints import import_published
from clipsep.spectral import SpectralSettings
from clipsep.training.losses import Targets, make_targets, mask_loss, nit_loss, pit_loss

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
LOSSES = {"clipsep": mask_loss, "nit": nit_loss, "pit": pit_loss}
MODELS = tuple(LOSSES)
MASK = {"atol": 1e-4, "rtol": 0.0}
# Logits reach 20, so they need a little room relative to their size too.
LOGIT = {"atol": 1e-4, "rtol": 1e-5}
LOSS = {"atol": 0.0, "rtol": 1e-3}


class Case(NamedTuple):
    """One golden file, its weights imported, and what our code makes of its sources."""

    name: str
    golden: dict[str, torch.Tensor]
    model: nn.Module
    settings: SpectralSettings
    spectra: torch.Tensor  # of the sources, [B, 2, 513, T]
    targets: Targets
    query: torch.Tensor | None  # [B, 2, 512]

    def predict(self, training: bool = False) -> MaskLogits:
        # A pass in training mode changes the normalisation's statistics.
        model = copy.deepcopy(self.model).train(training)
        with torch.no_grad():
            return model(self.targets.log_mixture, self.query)


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    golden = load_file(GOLDEN / f"{request.param}.safetensors")
    state = {
        f"module.{key.removeprefix('state.')}": tensor
        for key, tensor in golden.items()
        if key.startswith("state.")
    }
    torch.save(state, folder / "published.pt")
    import_published(folder / "published.pt", folder / "imported")
    checkpoint = load_checkpoint(folder / "imported")
    settings = checkpoint.config.spectral
    sources = torch.stack([golden["source_0"], golden["source_1"]], dim=1)
    spectra = stft(sources, settings.n_fft, settings.hop_length)
    query = None
    if "query_0" in golden:
        query = torch.stack([golden["query_0"], golden["query_1"]], dim=1)
    targets = make_targets(spectra, settings)
    return Case(request.param, golden, checkpoint.model, settings, spectra, targets, query)


def test_network_input_and_targets(case: Case):
    golden, targets = case.golden, case.targets
    torch.testing.assert_close(targets.log_mixture, golden["eval.log_mag_mix"], atol=2e-4, rtol=0)
    torch.testing.assert_close(targets.weight, golden["eval.weight"], **MASK)
    for source in range(2):
        assert torch.equal(targets.mask[:, source, None], golden[f"eval.target_mask_{source}"])


def test_masks(case: Case):
    logits = case.predict().query
    for query in range(2):
        expected = case.golden[f"eval.mask_{query}"]
        if case.name == "nit":
            torch.testing.assert_close(logits[:, query, None], expected, **LOGIT)
            expected = expected.sigmoid()
        torch.testing.assert_close(logits[:, query, None].sigmoid(), expected, **MASK)


def test_noise_heads(case: Case):
    noise = case.predict().noise
    if case.name != "nit":
        assert noise is None
        return
    for head in range(2):
        expected = case.golden[f"eval.noise_mask_{head}"]
        torch.testing.assert_close(noise[:, head, None], expected, **LOGIT)


def test_noise_heads_of_one_query_at_test_time(case: Case):
    """In training they see the mean of the queries: of a single one, that is the query itself."""
    if case.name != "nit":
        return
    with torch.no_grad():
        query, noise = case.model.noise_logits(case.targets.log_mixture, case.query)
        for number in range(2):
            published = case.golden[f"eval.mask_{number}"][:, 0]
            torch.testing.assert_close(query[:, number], published, **LOGIT)
            alone = case.model(case.targets.log_mixture, case.query[:, number : number + 1])
            torch.testing.assert_close(noise[:, number], alone.noise, **LOGIT)
        repeated = case.query.mean(dim=1, keepdim=True)
        _, of_mean = case.model.noise_logits(case.targets.log_mixture, repeated)
    for head in range(2):
        published = case.golden[f"eval.noise_mask_{head}"][:, 0]
        torch.testing.assert_close(of_mean[:, 0, head], published, **LOGIT)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses(case: Case, mode: str):
    loss = LOSSES[case.name](case.predict(training=mode == "train"), case.targets)
    torch.testing.assert_close(loss.total, case.golden[f"{mode}.loss"], **LOSS)
    if case.name == "nit":
        expected = case.golden[f"{mode}.mean_noise_activation"]
        torch.testing.assert_close(loss.noise_activation, expected, **LOSS)


def test_separated_sound(case: Case):
    if case.query is None:
        return  # PIT has no query to separate
    golden, settings = case.golden, case.settings
    mask = case.predict().query[:, 0].sigmoid()
    linear = from_bands(mask, settings)
    torch.testing.assert_close(linear, golden["eval.linear_mask_0"][:, 0], **MASK)

    mixture = case.spectra.sum(dim=1)
    expected = golden["eval.separated_soft"]
    soft = apply_mask(mixture, mask, settings, expected.shape[-1])
    torch.testing.assert_close(soft.clamp(-1, 1), expected, **MASK)

    # Bins as near to the threshold as the masks' tolerance may fall on either side of it.
    near = (golden["eval.linear_mask_0"][:, 0] - 0.5).abs() < MASK["atol"]
    binary = torch.where(near, golden["eval.linear_mask_0"][:, 0], linear) > 0.5
    sound = istft(mixture * binary, settings.n_fft, settings.hop_length, expected.shape[-1])
    torch.testing.assert_close(sound.clamp(-1, 1), golden["eval.separated_binary"], **MASK)
