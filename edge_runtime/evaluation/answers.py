"""First labels, and who is taken for whom."""

from __future__ import annotations

from collections import Counter

import numpy as np

# In place of a label where a probability is not finite.
NO_ANSWER = -1


def first_labels(probabilities: np.ndarray) -> np.ndarray:
    """Index of each picture's first label, int64, (samples,); `NO_ANSWER` where there is none.

    Args:
        probabilities: float32, (samples, labels).
    """
    finite = np.isfinite(probabilities).all(axis=1)
    return np.where(finite, np.nan_to_num(probabilities).argmax(axis=1), NO_ANSWER)


def confusion(truths: np.ndarray, answers: np.ndarray) -> Counter[tuple[int, int]]:
    """How many pictures have each pair of right label and answer; those without one are left out.

    A matrix of a hundred thousand labels would fill any memory; pairs are no more than pictures.
    """
    given = answers != NO_ANSWER
    return Counter(zip(truths[given].tolist(), answers[given].tolist(), strict=True))
