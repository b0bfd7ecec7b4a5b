"""How often each value of an activation occurs, and the range that is worth keeping of it.

onnxruntime's own histogram collector is not used: it keeps every activation of every picture until
the end (two gigabytes for 200 pictures at 224x224), and its entropy method, with as many bins as
levels, has one threshold to choose from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from converters.errors import ConversionError
from converters.quantisation_plan import CalibrationMethod

# Bins from -limit to limit; the limit doubles when a value lies outside, and bins join in pairs.
_BINS = 4096
# Levels that a threshold is judged with, those of int8 on one side of 0; NVIDIA's "8-bit inference
# with TensorRT" (GTC 2017), from which the entropy method is, has the same.
_LEVELS = 128
# Of a larger tensor every so manyth value is counted: an odd step, so that all channels are.
_COUNTED = 1 << 14
_STEP = 8  # bins from one candidate threshold to the next
# Ends of a range that are tried: so many from the outermost value down to a twentieth of it.
_ENDS = np.geomspace(1.0, 0.05, 60)


@dataclass(frozen=True)
class Range:
    """What is kept of a tensor's values.

    Attributes:
        low, high: of float32's precision; low is at most high.
    """

    low: float
    high: float


def require_finite(found: np.ndarray, names: list[str]) -> None:
    """Raises ConversionError when a range, (tensors, 2), is not of numbers."""
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise ConversionError(
            f"Layer {names[wrong[0]]!r} answers numbers that are not finite for a calibration "
            "picture; no range can be chosen for int8."
        )


class Histogram:
    """How often each value occurs, in bins that grow with what is seen."""

    def __init__(self) -> None:
        self._limit = 0.0
        self._counts = np.zeros(_BINS, np.int64)
        self._low, self._high = np.inf, -np.inf

    @property
    def largest(self) -> float:
        """The largest distance from 0 of any value so far."""
        return max(-self._low, self._high, 0.0)

    def add(self, values: np.ndarray, name: str) -> None:
        """Count a tensor's values, or a fair part of them; its ends are always known.

        Raises:
            ConversionError: when one is not finite.
        """
        low, high = float(values.min()), float(values.max())
        require_finite(np.array([[low, high]]), [name])
        self._low, self._high = min(self._low, low), max(self._high, high)
        largest = max(-low, high)
        if self._limit == 0.0:
            self._limit = largest  # while all values are 0 there is nothing to tell apart
        while self._limit and largest > self._limit:
            # What was in two bins is now in one, in the middle half of twice the range.
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            quarter = _BINS // 4
            self._counts = np.pad(pairs, quarter)
            self._limit *= 2
        half = _BINS // 2
        scale = half / self._limit if self._limit else 0.0
        counted = values.ravel()[:: values.size // _COUNTED | 1]
        bins = (counted * np.float32(scale) + np.float32(half)).astype(np.int32)
        np.minimum(bins, _BINS - 1, out=bins)
        self._counts += np.bincount(bins, minlength=_BINS)

    def range(self, method: CalibrationMethod, percentile: float) -> Range:
        """What is kept by that method; `minmax` keeps all.

        What is 0 in every picture, as a dead layer's activation, gets the range of one unit: with
        a range of nothing, one quantiser lets negative values through where a Relu was, and the
        other's steps are so small that no runtime takes the file.
        """
        if self._low == self._high == 0.0:
            return Range(0.0, 1.0)
        choose: dict[CalibrationMethod, Callable[[], Range]] = {
            "minmax": lambda: Range(self._low, self._high),
            "percentile": lambda: self.percentile(percentile),
            "entropy": self.entropy,
            "mse": self.least_error,
        }
        return choose[method]()

    def percentile(self, share: float) -> Range:
        """The range that holds so many percent of the values, the rest cut equally."""
        edges = np.linspace(-self._limit, self._limit, _BINS + 1)
        total = np.cumsum(self._counts) / self._counts.sum()
        cut = (100.0 - share) / 200.0
        left = int(np.searchsorted(total, cut, side="right"))
        right = int(np.searchsorted(total, 1.0 - cut))
        return self._within(edges[left], edges[min(right, _BINS - 1) + 1])

    def entropy(self) -> Range:
        """The range to which values are cut so that 128 levels tell most about them."""
        half = _BINS // 2
        folded = self._counts[half:] + self._counts[:half][::-1]
        folded[0] = 0  # mostly zeros of Relu, which every threshold represents exactly
        if not folded.any():
            return self._within(-self._limit, self._limit)
        candidates = range(_LEVELS, half + 1, _STEP)
        best = min(candidates, key=lambda bins: _divergence(folded, bins))
        limit = self._limit * best / half
        return self._within(-limit, limit)

    def least_error(self) -> Range:
        """The range with which 256 levels change the values least, in the mean square.

        Rounding costs a twelfth of a step's square for every value inside, cutting off the square
        of what is cut. Values that are 0 cost nothing: 0 is always a level.
        """
        width = 2 * self._limit / _BINS
        middles = (np.arange(_BINS) - _BINS / 2 + 0.5) * width
        counts = self._counts.astype(np.float64)
        counts[_BINS // 2] = 0.0
        lows, highs = min(self._low, 0.0) * _ENDS, max(self._high, 0.0) * _ENDS
        below = np.array([_beyond(low - middles, counts) for low in lows])
        above = np.array([_beyond(middles - high, counts) for high in highs])
        steps = (highs[np.newaxis] - lows[:, np.newaxis]) / (2 * _LEVELS - 1)
        error = counts.sum() * steps**2 / 12 + below[:, np.newaxis] + above[np.newaxis]
        low, high = np.unravel_index(int(error.argmin()), error.shape)
        return self._within(float(lows[low]), float(highs[high]))

    def _within(self, low: float, high: float) -> Range:
        return Range(max(low, self._low), min(high, self._high))


def _beyond(distance: np.ndarray, counts: np.ndarray) -> float:
    """Sum of squares of what lies beyond an end; a negative distance lies inside."""
    return float((np.maximum(distance, 0.0) ** 2 * counts).sum())


def _divergence(counts: np.ndarray, bins: int) -> float:
    """Kullback-Leibler divergence of the values cut at `bins`, from the same at 128 levels."""
    kept = counts[:bins].astype(np.float64)
    starts = np.linspace(0, bins, _LEVELS + 1).astype(np.int64)[:-1]
    level = np.searchsorted(starts, np.arange(bins), side="right") - 1
    filled = np.maximum(np.add.reduceat((kept > 0).astype(np.float64), starts), 1)
    coarse = (np.add.reduceat(kept, starts) / filled)[level] * (kept > 0)
    true = kept.copy()
    true[-1] += counts[bins:].sum()  # what is cut off becomes the largest value
    true, coarse = true / true.sum(), coarse / max(coarse.sum(), 1.0)
    there = true > 0
    floor = 1e-12  # where cutting put values that the levels do not have
    return float(np.sum(true[there] * np.log(true[there] / np.maximum(coarse[there], floor))))
