"""What may be passed as sound: any array of numbers means the same samples, all else is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipsep.errors import ClipsepError, UsageError
from clipsep.separation.waveforms import as_sample_rate, as_waveform, check_samples

SAMPLES = np.array([[0, 0.5, -0.5, -1]], np.float32)


@pytest.mark.parametrize(
    "sound",
    [
        SAMPLES.astype(np.float64),
        SAMPLES.astype(np.float16),
        (SAMPLES * 2**15).astype(np.int16),
        (SAMPLES * 2**31).astype(np.int32),
        (SAMPLES * 128).astype(np.int8),
        (SAMPLES * 128 + 128).astype(np.uint8),
        SAMPLES.tolist(),
        torch.tensor(SAMPLES, requires_grad=True),
        torch.tensor(SAMPLES, dtype=torch.bfloat16),
        torch.tensor((SAMPLES * 2**15).astype(np.int16)),
    ],
    ids=lambda sound: str(getattr(sound, "dtype", "list")),
)
def test_the_same_samples_in_any_form(sound):
    array = as_waveform(sound)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, SAMPLES)


@pytest.mark.parametrize(
    ("sound", "sentence"),
    [
        (np.zeros((44_100, 2)), r"looks like \[T, C\].*pass waveform\.T"),
        (np.zeros((44_100, 1)), r"looks like \[T, C\].*pass waveform\.T"),
        (np.zeros((100, 100)), "at most 64 channels, not 100"),
        (np.zeros((0, 100)), "at least one channel"),
        (np.zeros((1, 2, 3)), "shape"),
        (np.float32(1), "shape"),
        ("a.wav", "separate_file"),
        (Path("a.wav"), "separate_file"),
        (np.zeros(9, complex), "complex128"),
        (np.zeros(9, bool), "bool"),
        (np.zeros(9, np.int64), "int64"),
        ([[1.0], [1.0, 2.0]], "array of numbers|object"),
        (None, "object"),
    ],
    ids=str,
)
def test_what_is_no_waveform_is_one_sentence(sound, sentence):
    with pytest.raises(UsageError, match=sentence):
        as_waveform(sound)


def test_a_tensor_without_numbers_is_one_sentence():
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match="array of numbers"):
        as_waveform(torch.zeros(9, device="meta"))


def test_sample_rates():
    assert as_sample_rate(44_100.0) == as_sample_rate(np.int32(44_100)) == 44_100
    for wrong in (0, -1, 44_100.5, float("nan"), float("inf"), "44100", None, True, 1j):
        with pytest.raises(UsageError, match="positive whole number of Hz"):
            as_sample_rate(wrong)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e13])
def test_a_sample_that_is_no_sound_is_named_by_its_time(bad):
    block = np.zeros((2, 1000), np.float32)
    block[1, 500] = bad
    with pytest.raises(ClipsepError, match=r"first at 1\.500 s"):
        check_samples(block, 1000, 1000)
