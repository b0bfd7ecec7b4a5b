"""The range that is worth keeping of an activation."""

from __future__ import annotations

import numpy as np
import pytest

from converters.histogram import Histogram, Range


def seen(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values.astype(np.float32), 1 + len(values) // 10_000):
        histogram.add(part, "layer")  # as of so many pictures: of a large tensor a part is counted
    return histogram


def error(values: np.ndarray, kept: Range) -> float:
    """Mean square of what 256 levels from low to high change."""
    step = (kept.high - kept.low) / 255
    zero = np.round(-kept.low / step)
    levels = np.clip(np.round(values / step) + zero, 0, 255)
    return float((((levels - zero) * step - values) ** 2).mean())


@pytest.mark.parametrize("swish", [False, True], ids=["symmetric", "swish"])
def test_least_error_beats_the_whole_range_and_percentiles(swish: bool):
    values = 3 * np.random.default_rng(1).laplace(size=200_000)
    if swish:
        values = values / (1 + np.exp(-values))
    histogram = seen(values)
    best = error(values, histogram.least_error())
    whole = Range(float(values.min()), float(values.max()))
    assert best < error(values, whole)
    for share in (99.999, 99.99, 99.9):
        assert best <= 1.1 * error(values, histogram.percentile(share))


def test_least_error_keeps_an_even_spread_whole():
    values = np.linspace(-1, 3, 100_000)
    kept = seen(values).least_error()
    assert kept.low == pytest.approx(-1, abs=0.02)
    assert kept.high == pytest.approx(3, abs=0.05)


def test_zeros_of_a_relu_do_not_widen_or_narrow_the_range():
    rng = np.random.default_rng(2)
    positive = np.abs(rng.normal(size=20_000)) + 0.01
    alone = seen(positive).least_error()
    with_zeros = seen(np.concatenate([positive, np.zeros(200_000)])).least_error()
    assert with_zeros.high == pytest.approx(alone.high, rel=0.05)


def test_a_layer_that_is_always_zero_has_a_range():
    assert seen(np.zeros(10)).least_error() == Range(0.0, 0.0)


def test_of_a_large_tensor_every_channel_is_counted_and_the_ends_are_known():
    values = np.zeros((64, 64, 32), np.float32)
    values[..., 7] = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    values[3, 5, 9] = 4.0
    histogram = seen_at_once(values)
    assert histogram.range("minmax", 100.0) == Range(0.0, 4.0)
    assert histogram.percentile(99.9).high == pytest.approx(0.97, abs=0.05)


def seen_at_once(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values, "layer")
    return histogram
