"""Laws of streaming: length kept, an all-pass mask changes nothing, block sizes do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from clipsep.errors import UsageError
from clipsep.separation.masking.filterbank import native_stft
from clipsep.separation.masking.masks import (
    SHORTEST_LATENCY,
    SegmentMasks,
    mask_estimator,
    masks_of,
)
from clipsep.separation.masking.streaming import StreamingFilter
from clipsep.spectral import SpectralSettings, apply_mask, log_magnitude, stft

SETTINGS = SpectralSettings(segment_frames=64)
SECOND = 16000


def noise(channels: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((channels, samples)).astype(np.float32)


def constant(*gains: float):
    """Masks that do not depend on the sound."""

    def predict(log_magnitude: np.ndarray) -> np.ndarray:
        ones = np.ones((len(gains), *log_magnitude.shape[2:]), np.float32)
        return ones * np.array(gains, np.float32)[:, None, None]

    return predict


def by_loudness(log_magnitude: np.ndarray) -> np.ndarray:
    """Two masks that depend on the position and on the whole segment, and add up to one."""
    mask = masks_of(log_magnitude[0] - log_magnitude.mean(), binary=False)
    return np.concatenate([mask, 1 - mask])


def run(
    predict, mixture: np.ndarray, rate: int, block: int, settings=SETTINGS, latency=None
) -> np.ndarray:
    stream = StreamingFilter(predict, settings, rate, len(mixture), latency=latency)
    parts = [
        stream.push(mixture[:, start : start + block])
        for start in range(0, mixture.shape[1], block)
    ]
    parts.append(stream.push(mixture[:, :0], last=True))
    return np.concatenate([part for part in parts if part is not None], axis=-1)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("seconds", [0.03, 0.9, 1.024, 1.0241, 3.7])
def test_length_is_kept_and_a_constant_mask_is_a_gain(rate: int, seconds: float):
    mixture = noise(2, round(rate * seconds))
    targets = run(constant(1.0, 0.25), mixture, rate, block=rate)
    assert targets.shape == (2, *mixture.shape)
    assert np.abs(targets[0] - mixture).max() < 1e-5
    assert np.abs(targets[1] - 0.25 * mixture).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("latency", [None, 0.7, SHORTEST_LATENCY])
def test_the_size_of_blocks_changes_nothing_but_rounding(channels: int, latency: float | None):
    mixture = noise(channels, 3 * 22050) * np.linspace(0, 1, 3 * 22050, dtype=np.float32)
    whole = run(by_loudness, mixture, 22050, block=mixture.shape[1], latency=latency)
    for block in (777, 22050):
        parts = run(by_loudness, mixture, 22050, block, latency=latency)
        assert np.abs(parts - whole).max() < 1e-6
    assert np.abs(whole.sum(axis=0) - mixture).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("latency", [SHORTEST_LATENCY, 0.5, 1.0, 3.0])
def test_no_sample_waits_longer_than_the_latency(rate: int, latency: float):
    settings = SpectralSettings()  # of segments of 4.1 s
    stream = StreamingFilter(constant(1.0, 0.25), settings, rate, 1, latency=latency)
    mixture, step, emitted = noise(1, 6 * rate), rate // 100, 0
    for end in range(step, 6 * rate + 1, step):
        targets = stream.push(mixture[:, end - step : end])
        if targets is not None:
            assert np.abs(targets[0] - mixture[:, emitted:][:, : targets.shape[2]]).max() < 1e-5
            emitted += targets.shape[2]
        assert end - emitted <= latency * rate + step
    assert emitted + stream.push(mixture[:, :0], last=True).shape[2] == 6 * rate


def test_a_live_mask_has_heard_what_a_segment_has():
    """After the first segment, a frame's mask is that of the newest one, faded with the one before."""
    seen = []

    def predict(log_magnitude: np.ndarray) -> np.ndarray:
        seen.append(log_magnitude[0, 0])
        return np.ones((1, *log_magnitude.shape[2:]), np.float32)

    mixture = noise(1, 3 * SECOND)[0]
    whole = log_magnitude(stft(mixture, SETTINGS.n_fft, SETTINGS.hop_length), SETTINGS)
    estimator = mask_estimator(predict, SETTINGS, 0.125, latency=0.5)
    frames = estimator.push(mixture, last=True)
    assert frames.shape == (1, SETTINGS.n_bands, whole.shape[1])
    ends = np.arange(25, whole.shape[1] + 1)
    last = [segment[:, -1] for segment in seen if segment.shape[1] == SETTINGS.segment_frames]
    assert len(seen) > 10
    assert all(
        any(np.allclose(column, whole[:, end - 1], atol=1e-3) for end in ends)
        for column in last[5:]
    )


def test_a_latency_that_is_too_short_is_refused_and_a_long_one_is_a_segments():
    with pytest.raises(UsageError, match=r"latency is at least 0.25 seconds, not 0.1"):
        mask_estimator(by_loudness, SETTINGS, 0.125, latency=0.1)
    assert isinstance(mask_estimator(by_loudness, SETTINGS, 0.125, latency=60), SegmentMasks)


def test_one_segment_at_16_khz_is_masked_as_in_training():
    """Away from its two ends, where the filter sees one STFT frame more than the plain STFT."""
    mixture = noise(1, SETTINGS.segment_samples)
    spectrum = stft(mixture[0], SETTINGS.n_fft, SETTINGS.hop_length)
    mask = by_loudness(log_magnitude(spectrum, SETTINGS)[None, None])
    expected = apply_mask(spectrum, mask, SETTINGS, mixture.shape[1])
    inner = slice(SETTINGS.n_fft, -SETTINGS.n_fft)
    separated = run(by_loudness, mixture, SECOND, block=5000)
    assert np.abs(separated[:, 0, inner] - expected[:, inner]).max() < 1e-5


def test_every_segment_is_made_of_the_whole_signals_frames():
    """Segments start where they must, the last one ends with the last frame, and masks fade."""
    mixture = noise(1, 10 * SECOND)[0]
    frames = stft(mixture, SETTINGS.n_fft, SETTINGS.hop_length)
    whole = log_magnitude(frames, SETTINGS)
    seen = []

    def remember(segment: np.ndarray) -> np.ndarray:
        starts = [
            t
            for t in range(whole.shape[-1] - 63)
            if np.allclose(whole[:, t : t + 64], segment[0, 0], atol=1e-3)
        ]
        seen.extend(starts)
        return np.full((1, 256, 64), float(len(seen)), np.float32)

    stream = SegmentMasks(remember, SETTINGS, overlap=0.25)
    masks = np.concatenate(
        [m for m in (stream.push(mixture), stream.push(mixture[:0], last=True)) if m is not None],
        axis=-1,
    )
    total = whole.shape[-1]
    assert masks.shape[-1] == total
    assert seen == [*range(0, total - 64, 48), total - 64]
    # From one segment's value to the next, through the values between them.
    first = masks[0, 0, :64]
    assert (first[:48] == 1).all() and (np.diff(first[48:]) > 0).all() and first[-1] < 2


def test_a_signal_shorter_than_a_segment_is_repeated_to_fill_it():
    """As short clips are in training: the network sees no silence after it."""
    seen = []

    def remember(segment: np.ndarray) -> np.ndarray:
        seen.append(segment.max(axis=2))
        return np.ones_like(segment[0])

    stream = SegmentMasks(remember, SETTINGS, overlap=0.25)
    masks = stream.push(noise(1, SECOND // 5)[0], last=True)
    assert masks.shape[-1] == 1 + SECOND // 5 // SETTINGS.hop_length
    assert len(seen) == 1 and (seen[0] > 0).all()


def test_a_loud_moment_is_filtered_where_it_is():
    """A mask that opens on one tone passes it, at any rate, and stops another."""

    def low_pass(log_magnitude: np.ndarray) -> np.ndarray:
        mask = np.zeros((1, *log_magnitude.shape[2:]), np.float32)
        mask[:, :160] = 1  # about 1.8 kHz
        return mask

    for rate in (8000, 16000, 44100):
        time = np.arange(2 * rate) / rate
        low, high = np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 3000 * time)
        mixture = (low + high).astype(np.float32)[None]
        separated = run(low_pass, mixture, rate, block=rate)[0, 0]
        inner = slice(rate // 4, -rate // 4)
        assert np.abs(separated - low)[inner].max() < 0.02


def test_native_frames_last_about_as_long_as_the_networks():
    assert native_stft(SpectralSettings(), 16000) == (1024, 256)
    for rate in (8000, 11025, 22050, 32000, 44100, 48000, 88200, 96000, 192000):
        n_fft, hop = native_stft(SpectralSettings(), rate)
        assert n_fft == 2 * hop and abs(n_fft / rate - 0.064) < 0.003


def test_memory_does_not_grow_with_length():
    stream = StreamingFilter(constant(0.5), SETTINGS, 44100, 2)
    held = []
    block = noise(2, 44100)
    for _ in range(40):
        stream.push(block)
        tensors = [v for v in vars(stream).values() if isinstance(v, np.ndarray)]
        held.append(sum((t if t.base is None else t.base).nbytes for t in tensors))
    assert max(held[20:]) < 1.1 * max(held[:20])


@pytest.mark.slow
def test_pieces_have_a_bounded_size_and_add_up_to_the_same(monkeypatch):
    """Many queries, channels and a high rate would be gigabytes at once."""
    mixture = noise(4, 3 * 48_000)
    gains = np.linspace(0, 1, 12)
    whole = run(constant(*gains), mixture, 48_000, block=48_000)
    limit = 1 << 19
    monkeypatch.setattr("clipsep.separation.masking.filterbank._BYTES_AT_ONCE", limit)
    monkeypatch.setattr("clipsep.separation.masking.streaming._BYTES_OF_PIECE", limit)
    stream = StreamingFilter(constant(*gains), SETTINGS, 48_000, 4)
    pieces = list(stream.pieces(mixture)) + list(stream.pieces(mixture[:, :0], last=True))
    assert len(pieces) > 20 and max(piece.nbytes for piece in pieces) < 2 * limit
    assert stream._filterbank.most_frames < 32
    np.testing.assert_allclose(np.concatenate(pieces, axis=-1), whole, atol=1e-6)
    stream = StreamingFilter(constant(*gains), SETTINGS, 48_000, 4)
    pushed = [stream.push(mixture), stream.push(mixture[:, :0], last=True)]
    np.testing.assert_array_equal(np.concatenate(pushed, axis=-1), np.concatenate(pieces, axis=-1))
