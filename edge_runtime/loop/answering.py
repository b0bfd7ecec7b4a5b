"""From a frame's prediction to the answer: smoothing over frames, and `unknown` below a score."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.classifier import Prediction
from edge_runtime.loop.results import UNKNOWN, Answer, Result
from edge_runtime.loop.smoothing import Smoother

# After a gap as long as this, a live source shows another scene.
GAP_S = 2.0


class Answering:
    """Answers the frames of one source, in their order."""

    def __init__(
        self,
        labels: tuple[str, ...],
        *,
        min_score: float = 0.0,
        smoother: Callable[[], Smoother] | None = None,
        live: bool = False,
    ) -> None:
        """Args:
        min_score: below it the answer is `unknown`.
        smoother: makes one, for this source alone; `None`: each frame for itself.
        live: whether a gap in time means another scene.
        """
        self._labels, self._min_score, self._live = labels, min_score, live
        self._smoother = smoother() if smoother else None
        self._last_s: float | None = None

    def answer(self, result: Result) -> Answer | None:
        """The answer to a frame; `None` to one without a prediction."""
        prediction, captured_s = result.prediction, result.frame.captured_s
        if result.is_repeat:
            self._last_s = captured_s
            return None  # still the scene of the frames before: what they said stands
        gap = self._last_s is not None and captured_s - self._last_s > GAP_S
        self._last_s = captured_s
        if self._smoother and (prediction is None or (gap and self._live)):
            self._smoother.reset()
        return None if prediction is None else self._answer(prediction)

    def _answer(self, prediction: Prediction) -> Answer:
        probabilities = prediction.probabilities
        # False for NaN.
        won = prediction.index if prediction.score >= self._min_score else None
        if self._smoother:
            probabilities, won = self._smoother.update(probabilities, min_score=self._min_score)
        if won is None:
            return Answer(UNKNOWN, None, float(probabilities.max()), probabilities)
        return Answer(self._labels[won], won, float(probabilities[won]), probabilities)
