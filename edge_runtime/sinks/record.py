"""A result as a JSON object: the same fields in JSON Lines, MQTT and webhooks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_runtime.pipeline import Result

TOP_LABELS = 5


def record_of(result: Result, labels: tuple[str, ...]) -> dict[str, Any]:
    """What a frame was and what was answered; docs/run.md lists the fields.

    A frame that is no news has `condition` instead of `label`, `score` and `top`.
    """
    frame, answer = result.frame, result.answer
    record: dict[str, Any] = {"frame": frame.index, "time": round(result.captured_at, 3)}
    if frame.source:
        record["source"] = frame.source
    if frame.name:
        record["file"] = frame.name
    if answer is None or result.prediction is None:
        record["condition"] = frame.condition
        return record
    record["label"] = answer.label
    record["score"] = number(answer.score)
    if answer.abstained:
        record["abstained"] = True
    record["top"] = [
        [labels[i], number(answer.probabilities[i])] for i in _best(answer.probabilities)
    ]
    if answer.label != result.prediction.label:
        # What the model said of this frame alone.
        record["model"] = [result.prediction.label, number(result.prediction.score)]
    return record


def number(value: float) -> float | None:
    """Six places; `None` for what JSON has no number for, such as NaN."""
    return round(float(value), 6) if math.isfinite(value) else None


def _best(probabilities: np.ndarray) -> np.ndarray:
    """Indices of the highest few, the highest first."""
    if len(probabilities) > 8 * TOP_LABELS:
        few = np.argpartition(probabilities, -TOP_LABELS)[-TOP_LABELS:]
        return few[probabilities[few].argsort()[::-1]]
    return probabilities.argsort()[::-1][:TOP_LABELS]
