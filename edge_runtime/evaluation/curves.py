"""ROC and precision-recall curves of each class against all others, and the areas under them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_runtime.intervals import Z95


@dataclass(frozen=True, eq=False)
class RocCurve:
    """One class against all others; both arrays float64, (points,).

    Attributes:
        low, high: 95 % interval of `auc`.
    """

    label: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """One class against all others, from the surest answer on; both arrays float64, (points,).

    Attributes:
        average_precision: sum over the points of precision times the recall that it adds.
        share: fraction of the pictures that show the class: what guessing would reach.
    """

    label: str
    recall: np.ndarray
    precision: np.ndarray
    average_precision: float
    share: float


def roc_curves(
    labels: tuple[str, ...], truth: np.ndarray, probabilities: np.ndarray
) -> list[RocCurve]:
    """One curve for each class that some pictures show and some do not.

    Args:
        truth: int, (samples,): right labels.
        probabilities: float32, (samples, labels), all finite.
    """
    curves = []
    for index, label in enumerate(labels):
        is_it = truth == index
        if is_it.any() and not is_it.all():
            hits, misses = _cumulative(is_it, probabilities[:, index])
            true_rate = np.concatenate([[0.0], hits / hits[-1]])
            false_rate = np.concatenate([[0.0], misses / misses[-1]])
            steps = np.diff(false_rate)
            auc = float((steps * (true_rate[1:] + true_rate[:-1]) / 2).sum())
            interval = auc_interval(auc, int(hits[-1]), int(misses[-1]))
            curves.append(RocCurve(label, false_rate, true_rate, auc, *interval))
    return curves


def precision_recall_curves(
    labels: tuple[str, ...], truth: np.ndarray, probabilities: np.ndarray
) -> list[PrecisionRecallCurve]:
    """One curve for each class that some pictures show; see `roc_curves`."""
    curves = []
    for index, label in enumerate(labels):
        is_it = truth == index
        if is_it.any() and not is_it.all():
            hits, misses = _cumulative(is_it, probabilities[:, index])
            precision, recall = hits / (hits + misses), hits / hits[-1]
            average = float((np.diff(recall, prepend=0.0) * precision).sum())
            share = float(is_it.mean())
            curves.append(PrecisionRecallCurve(label, recall, precision, average, share))
    return curves


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of an area under a ROC curve; unlike most it has a width at 1 as well.

    Source: R. G. Newcombe, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic. Part 2", Statistics in Medicine 25 (2006), method 5: the values that
    lie no farther from `auc` than their own standard error allows.
    """
    many = (positives + negatives) / 2 - 1

    def off(theta: float) -> float:
        spread = 1 + many * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * spread / (positives * negatives)
        return abs(auc - theta) - Z95 * math.sqrt(max(variance, 0.0))

    return _edge(off, auc, 0.0), _edge(off, auc, 1.0)


def _edge(off: Callable[[float], float], inside: float, outside: float) -> float:
    """Between a value that is near enough and one that is not, the last that is: by halving."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if off(middle) <= 0 else (inside, middle)
    return outside if abs(outside - inside) < 1e-9 else inside


def _cumulative(is_it: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the class, and of the others, have at least each score that occurs."""
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], is_it[order]
    ends = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(right)[ends].astype(np.float64)
    return hits, np.flatnonzero(ends) + 1 - hits
