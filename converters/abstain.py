"""Below which score a variant had better say `unknown`: chosen on held-out pictures."""

from __future__ import annotations

import numpy as np

from edge_runtime.intervals import wilson_interval
from edge_runtime.manifest import Abstain


def choose_abstain(probabilities: np.ndarray, labels: np.ndarray, wanted: float) -> Abstain | None:
    """The lowest score at which that fraction of a variant's own answers is right.

    Each variant needs its own: quantisation shifts scores, and an int8 file has only 256 of them.
    The limit lies halfway to the next lower score that occurs, so that another engine's rounding
    does not cross it.

    Args:
        probabilities: the variant's answers for the held-out pictures, float32 (samples, labels).
        labels: the right ones, int64 (samples,).
        wanted: fraction of the answers that shall be right, above 0 and at most 1.

    Returns:
        `None` when even the most certain answers are wrong too often.
    """
    scores = np.where(np.isfinite(probabilities).all(axis=1), probabilities.max(axis=1), -1.0)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    right = np.cumsum(probabilities.argmax(axis=1)[order] == labels[order])
    given = np.arange(1, len(ranked) + 1)
    # Pictures of the same score are answered together or not at all; one of NaN never is.
    ends = np.append(ranked[1:] != ranked[:-1], True) & (ranked >= 0)
    enough = np.flatnonzero(ends & (right >= wanted * given - 1e-9))
    if not len(enough):
        return None
    last = int(enough[-1])
    # Every answer is good enough: none needs to be held back.
    everything = last == len(ranked) - 1
    below = 0.0 if everything else float(max(ranked[last + 1], 0.0))
    count, correct = last + 1, int(right[last])
    return Abstain(
        wanted=wanted,
        min_score=0.0 if everything else (float(ranked[last]) + below) / 2,
        precision=correct / count,
        precision_low=wilson_interval(correct, count)[0],
        coverage=count / len(ranked),
        samples=len(ranked),
    )
