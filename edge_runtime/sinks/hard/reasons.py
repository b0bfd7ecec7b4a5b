"""Why a frame is a hard one: a low margin, an abstention, or an answer that flickers."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import pairwise

import numpy as np

from edge_runtime.pipeline import Result

MARGIN = 0.2
# An answer that changed so often within so many frames flickers.
_FLICKER_CHANGES, _FLICKER_FRAMES = 3, 8


class Reasons:
    """Looks at each result of each source, in their order."""

    def __init__(self, margin: float = MARGIN) -> None:
        """Args: margin: below it, the two most probable labels are too close to each other."""
        self._margin = margin
        self._recent: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_FLICKER_FRAMES))

    def of(self, result: Result) -> tuple[str, ...]:
        """`abstained`, `margin`, `flicker`; none for an easy frame, or one that is no news."""
        prediction, answer = result.prediction, result.answer
        if prediction is None or answer is None:
            return ()
        recent = self._recent[result.frame.source]
        recent.append(prediction.index)
        found = []
        if answer.abstained:
            found.append("abstained")
        if not margin_of(prediction.probabilities) >= self._margin:  # NaN is as hard as it gets
            found.append("margin")
        if result.frame.name is None and _changes(recent) >= _FLICKER_CHANGES:
            found.append("flicker")
        return tuple(found)


def margin_of(probabilities: np.ndarray) -> float:
    """By how much the best label is more probable than the next; 1 where there is no other."""
    if len(probabilities) < 2:
        return 1.0
    second, first = np.partition(probabilities, -2)[-2:]
    return float(first - second)


def _changes(labels: deque[int]) -> int:
    return sum(a != b for a, b in pairwise(labels))
