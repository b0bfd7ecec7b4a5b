"""Whether scores mean what they say: of answers given with 80 %, are eight in ten right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# As in C. Guo et al., "On calibration of modern neural networks", ICML 2017.
BINS = 15
# A probability that float32 can just tell from 0.
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose score lies above `low` and up to `high`.

    Attributes:
        samples: how many there are.
        score: their mean score; 0 where there are none.
        right: fraction of them that is right; likewise.
    """

    low: float
    high: float
    samples: int
    score: float
    right: float


def reliability(
    truths: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Answers in bins of equal width by their score.

    Args:
        truths: int, (samples,): right labels.
        probabilities: float32, (samples, labels), all finite.
    """
    scores = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truths
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    some = np.maximum(counts, 1)
    mean = np.bincount(place, scores, minlength=bins) / some
    share = np.bincount(place, right, minlength=bins) / some
    return tuple(
        ReliabilityBin(float(low), float(high), int(n), float(score), float(fraction))
        for low, high, n, score, fraction in zip(
            edges[:-1], edges[1:], counts, mean, share, strict=True
        )
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """By how much scores lie off the fraction that is right: mean over the answers, 0 to 1.

    Source: M. P. Naeini, G. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities
    using Bayesian binning", AAAI 2015.
    """
    total = sum(b.samples for b in bins)
    return sum(b.samples * abs(b.right - b.score) for b in bins) / max(1, total)


def negative_log_likelihood(truths: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over the pictures of -log of the right label's probability, in nats."""
    of_truth = probabilities[np.arange(len(truths)), truths].astype(np.float64)
    return float(-np.log(np.maximum(of_truth, _LEAST_PROBABILITY)).mean())


def brier_score(truths: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance from the right answer, summed over the labels: 0 to 2.

    Source: G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
    Weather Review 78 (1950).
    """
    p = probabilities.astype(np.float64)
    of_truth = p[np.arange(len(truths)), truths]
    return float(((p**2).sum(axis=1) - 2 * of_truth + 1).mean())
