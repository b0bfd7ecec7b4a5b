"""Intervals of figures that average over classes: the pictures are drawn again, many times.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7
(1979); the interval is between percentiles of the resampled figures. They are drawn from what was
counted and, of each class, half a picture right and half a picture wrong: without them, no wrong
answer at all would be certainty (compare `edge_runtime.intervals.paired_interval`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_runtime.evaluation.answers import NO_ANSWER

DRAWS = 1000
_SEED = 0
_PERCENTILES = (2.5, 97.5)

# Value, and the ends of its 95 % interval.
Figures = tuple[float, float, float]


@dataclass(frozen=True)
class Resampled:
    """Figures with intervals; `f1` by label index, of labels that were shown or answered."""

    balanced_accuracy: Figures
    macro_f1: Figures
    f1: Mapping[int, Figures]


def resampled(truths: np.ndarray, answers: np.ndarray, labels: int) -> Resampled:
    """Figures of these answers, and of `DRAWS` resamplings of the pictures.

    Args:
        truths, answers: int, (samples,); an answer of `NO_ANSWER` is none.
        labels: how many there are.
    """
    # These figures depend on nothing but how many pictures have each pair of truth and answer, so
    # drawing pictures is drawing counts of pairs.
    pairs, counts = np.unique(truths * (labels + 1) + answers + 1, return_counts=True)
    shown = np.unique(truths)
    truth = np.concatenate([pairs // (labels + 1), shown, shown])
    answer = np.concatenate([pairs % (labels + 1) - 1, shown, np.full(len(shown), NO_ANSWER)])
    counted = np.concatenate([counts, np.zeros(2 * len(shown), np.int64)])
    weights = np.concatenate([counts, np.full(2 * len(shown), 0.5)])
    seen, place = np.unique(np.concatenate([truth, answer]), return_inverse=True)
    tally = _Tally(place[: len(truth)], place[len(truth) :], truth == answer, len(seen))
    rng = np.random.default_rng(_SEED)
    draws = rng.multinomial(len(truths), weights / weights.sum(), size=DRAWS)
    rows = [tally.figures(counted), *(tally.figures(draw) for draw in draws)]
    balanced, macro, f1 = (np.array(column) for column in zip(*rows, strict=True))
    return Resampled(
        _interval(balanced),
        _interval(macro),
        {int(label): _interval(f1[:, n]) for n, label in enumerate(seen) if label >= 0},
    )


@dataclass(frozen=True, eq=False)
class _Tally:
    """Which pair counts towards which of the labels that occur."""

    truth: np.ndarray
    answer: np.ndarray
    right: np.ndarray
    labels: int

    def figures(self, counts: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Balanced accuracy, macro F1 and each label's F1 of so many pictures of each pair."""
        shown = np.bincount(self.truth, counts, self.labels)
        given = np.bincount(self.answer, counts, self.labels)
        right = np.bincount(self.truth[self.right], counts[self.right], self.labels)
        some = shown > 0
        f1 = 2 * right / np.maximum(shown + given, 1)
        recall = right[some] / shown[some]
        return float(recall.mean()), float(f1[some].mean()), f1


def _interval(values: np.ndarray) -> Figures:
    low, high = np.percentile(values[1:], _PERCENTILES)
    # Of few pictures the resampled figures may all lie on one side of the figure itself.
    return float(values[0]), float(min(low, values[0])), float(max(high, values[0]))
