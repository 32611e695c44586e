"""Laws of the convolution of an enlarged map: it is the two plain steps, however it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clipsep.models.networks import upsampled_conv
from clipsep.models.networks.upsampled_conv import UpsampledConv2d, upsampled_conv2d
from tests.helpers.networks import random

CLOSE = {"atol": 1e-9, "rtol": 1e-9}
# Batch, channels in and out, height and width of maps whose channels are mixed first ...
MIXED = [(1, 4, 3, 1, 1), (3, 12, 2, 1, 4), (5, 14, 3, 2, 4), (2, 27, 8, 5, 7), (3, 32, 4, 8, 8)]
# ... and of maps with too few channels for that.
PLAIN = [(1, 1, 1, 1, 1), (3, 2, 5, 4, 3), (2, 8, 3, 16, 16)]


@pytest.fixture
def never_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    def enlarge(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError(f"a map of the shape {list(x.shape)} was enlarged")

    monkeypatch.setattr(upsampled_conv, "_enlarge", enlarge)


def in_two_steps(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    enlarged = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return F.conv2d(enlarged, weight, bias, padding=1)


def assert_same(results: list[torch.Tensor], inputs: list[torch.Tensor]) -> None:
    """Equal values, and equal gradients of the inputs."""
    one, other = results
    weights = random(*one.shape, seed=7)
    torch.testing.assert_close(one, other, **CLOSE)
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in results]
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, **CLOSE)


def make_layer(channels: int, out: int, bias: bool = True) -> UpsampledConv2d:
    layer = UpsampledConv2d(channels, out, bias)
    return layer.to(torch.float64, memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("batch", "channels", "out", "height", "width"), MIXED)
def test_mixing_first_changes_nothing(
    batch: int, channels: int, out: int, height: int, width: int, bias: bool, never_enlarged
):
    layer = make_layer(channels, out, bias)
    x = random(batch, channels, height, width).requires_grad_()
    inputs = [x, *layer.parameters()]
    assert_same([layer(x), in_two_steps(x, layer.weight, layer.bias)], inputs)
    in_memory = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(in_memory), layer(x), **CLOSE)


@pytest.mark.parametrize(("batch", "channels", "out", "height", "width"), PLAIN)
def test_few_channels_are_enlarged_first(
    batch: int, channels: int, out: int, height: int, width: int
):
    layer = make_layer(channels, out)
    x = random(batch, channels, height, width).requires_grad_()
    assert_same(
        [layer(x), in_two_steps(x, layer.weight, layer.bias)], [x, layer.weight, layer.bias]
    )


@pytest.mark.parametrize(("batch", "channels", "out", "height", "width"), MIXED + PLAIN)
def test_kernels_of_each_item(
    batch: int, channels: int, out: int, height: int, width: int, never_enlarged
):
    x = random(batch, channels, height, width).requires_grad_()
    kernels = random(batch, out, channels, 3, 3, seed=3).requires_grad_()
    items = [in_two_steps(x[[b]], kernels[b]) for b in range(batch)]
    assert_same([upsampled_conv2d(x, kernels), torch.cat(items)], [x, kernels])


@pytest.mark.parametrize(("height", "width"), [(2, 300), (300, 1)])
def test_kernels_of_each_item_on_long_maps(height: int, width: int):
    """Their matrices would be large, so none are made."""
    x, kernels = random(3, 2, height, width), random(3, 1, 2, 3, 3, seed=3)
    before = upsampled_conv._moved_enlargements.cache_info().currsize
    items = [in_two_steps(x[[b]], kernels[b]) for b in range(3)]
    torch.testing.assert_close(upsampled_conv2d(x, kernels), torch.cat(items), **CLOSE)
    assert upsampled_conv._moved_enlargements.cache_info().currsize == before


def test_weights_are_those_of_a_convolution():
    """The same names, and the same numbers from the same seed: nothing else is saved."""
    states = []
    for kind in (UpsampledConv2d, lambda c_in, c_out: nn.Conv2d(c_in, c_out, 3, padding=1)):
        torch.manual_seed(0)
        layer = kind(32, 4)
        layer(torch.zeros(1, 32, 8, 8))
        states.append(layer.state_dict())
    ours, plain = states
    assert list(ours) == list(plain)
    assert all(torch.equal(ours[name], plain[name]) for name in ours)


def test_matrices_do_not_pile_up():
    for size in range(1, 101):
        upsampled_conv2d(torch.zeros(1, 1, 1, size), torch.zeros(1, 1, 1, 3, 3))
    assert upsampled_conv._moved_enlargements.cache_info().currsize <= 32


def test_inference_does_not_stand_in_the_way_of_training():
    upsampled_conv._moved_enlargements.cache_clear()
    layer, x = make_layer(32, 4), random(2, 32, 8, 8)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad.abs().max() > 0


@torch.no_grad()
def test_half_precision_errs_no_more_than_in_two_steps(never_enlarged):
    layer, x = make_layer(256, 16), random(2, 256, 16, 16)
    expected = layer(x)
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = layer(x), in_two_steps(x, layer.weight, layer.bias)
    ours, plain = (float((y - expected).square().mean().sqrt()) for y in (ours, plain))
    assert ours < 2 * plain < 0.05 * float(expected.std())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_it_compiles_in_one_piece(never_enlarged):
    layer, x = make_layer(32, 4, bias=False), random(2, 32, 8, 8)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x), **CLOSE)
