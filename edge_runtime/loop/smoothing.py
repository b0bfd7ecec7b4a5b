"""Steadier answers from several frames in a row of one source."""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import Protocol

import numpy as np

from edge_runtime.errors import OptionError

MAX_WINDOW = 10_000


class Smoother(Protocol):
    """Remembers the last frames of one source."""

    def update(
        self, probabilities: np.ndarray, *, min_score: float
    ) -> tuple[np.ndarray, int | None]:
        """Take a frame's probabilities: float32, shape (labels,).

        Args:
            min_score: below it a score is not to be relied on.

        Returns:
            Smoothed probabilities, and the label's index; `None` when no label has won.
        """

    def reset(self) -> None:
        """What was seen before is of another scene."""


class MovingAverage:
    """Mean of the probabilities of the last `window` frames; fewer at the start.

    The mean must reach the score.
    """

    def __init__(self, window: int) -> None:
        """Raises OptionError unless 1 <= window <= 10,000."""
        if not 1 <= window <= MAX_WINDOW:
            raise OptionError(f"A moving average is over 1 to {MAX_WINDOW} frames, not {window}.")
        self._recent: deque[np.ndarray] = deque(maxlen=window)

    def update(
        self, probabilities: np.ndarray, *, min_score: float
    ) -> tuple[np.ndarray, int | None]:
        if not np.isfinite(probabilities).all():
            return probabilities, None  # one NaN would stay in the mean of the whole window
        self._recent.append(probabilities)
        mean = np.asarray(np.mean(self._recent, axis=0, dtype=np.float32))
        return mean, int(mean.argmax()) if mean.max() >= min_score else None

    def reset(self) -> None:
        self._recent.clear()


class Votes:
    """A label is answered when `needed` of the last `window` frames say so.

    A frame whose own score is below the limit votes for no label. What is told as the score is the
    label's mean.
    """

    def __init__(self, needed: int, window: int) -> None:
        """Raises OptionError unless 1 <= needed <= window <= 10,000 and needed > window / 2."""
        if not 1 <= needed <= window <= MAX_WINDOW:
            raise OptionError(
                f"Votes are K/N with 1 <= K <= N <= {MAX_WINDOW}; got {needed}/{window}."
            )
        if 2 * needed <= window:
            raise OptionError(
                f"Votes {needed}/{window}: two labels could win at once; K must be more than half "
                "of N."
            )
        self._needed = needed
        self._recent: deque[tuple[int | None, np.ndarray]] = deque(maxlen=window)

    def update(
        self, probabilities: np.ndarray, *, min_score: float
    ) -> tuple[np.ndarray, int | None]:
        if not np.isfinite(probabilities).all():
            self._recent.append((None, np.zeros_like(probabilities)))
            return probabilities, None
        vote = int(probabilities.argmax()) if probabilities.max() >= min_score else None
        self._recent.append((vote, probabilities))
        mean = np.asarray(np.mean([row for _, row in self._recent], axis=0, dtype=np.float32))
        label, count = Counter(vote for vote, _ in self._recent).most_common(1)[0]
        return mean, label if count >= self._needed else None

    def reset(self) -> None:
        self._recent.clear()


def parse_votes(text: str) -> tuple[int, int]:
    """Read `K/N`. Raises OptionError when it is not that."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None:
        raise OptionError(
            f"--votes {text!r}: write K/N, such as 5/8: five of the last eight frames."
        )
    pair = int(found[1]), int(found[2])
    try:
        Votes(*pair)
    except OptionError as exc:
        raise OptionError(f"--votes: {exc}") from exc
    return pair
