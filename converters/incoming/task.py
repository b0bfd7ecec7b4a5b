"""Whether a model's answers are one number per label, or raw tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from converters.errors import RunError
from converters.incoming.facts import Facts

TaskName = Literal["classification", "tensors"]
TASKS: tuple[TaskName, ...] = ("classification", "tensors")

# What makes features rather than numbers before a softmax, as Keras, TFLite and ONNX call it.
_FEATURES = {
    *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "AveragePooling2D", "MaxPooling2D"),
    *("BatchNormalization", "LayerNormalization", "UnitNormalization", "relu", "relu6", "tanh"),
    *("MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "REDUCE_MAX", "L2_NORMALIZATION", "RELU", "RELU6"),
    *("TANH", "GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean"),
    *("LpNormalization", "BatchNormalization", "LayerNormalization", "Relu", "Tanh"),
}
# A normalised vector's length differs from 1 by rounding, of int8 at most.
_UNIT_LENGTH = 0.05


@dataclass(frozen=True)
class Task:
    """What the answers are.

    Attributes:
        form: raw tensors in words, such as `a feature vector`; empty for classification.
        why: who says so.
    """

    name: TaskName
    form: str
    why: str


def task_of(
    path: str,
    facts: Facts,
    given: Sequence[np.ndarray],
    asked: TaskName | None,
    *,
    named: bool,
) -> Task:
    """What the user said, or what the shapes, the labels, and the last operator tell.

    Args:
        path: what an error calls the model.
        given: what it answers to a few pictures, by output: (samples, *shape).
        named: whether anybody has named as many labels as there are answers.

    Raises:
        RunError: when classification was asked of what is none.
    """
    form, single = _form(given), len(given) == 1 and _is_vector(given[0])
    if asked == "classification" and not single:
        raise RunError(
            f"{path}: answers {_shapes(facts, given)}, which is not one number per label; "
            "--task tensors packs it as raw tensors."
        )
    if asked:
        return Task(asked, form if asked == "tensors" else "", "--task")
    if not single:
        return Task("tensors", form, f"the outputs: {_shapes(facts, given)}")
    if named:
        return Task("classification", "", "there are as many labels")
    why = _why_features(facts, given[0])
    return Task("tensors", form, why) if why else Task("classification", "", "one output")


def _why_features(facts: Facts, answers: np.ndarray) -> str:
    """Why a vector that nobody has named is one of features; empty where it is not."""
    rows = answers.reshape(len(answers), -1).astype(np.float64)
    if facts.ends_in:
        return ""
    if rows.shape[1] == 1:
        return "it is one number, its last operator is no sigmoid, and nobody names two labels"
    if facts.last in _FEATURES:
        return f"it ends in {facts.last}, and nobody names labels"
    inside = rows.min() >= -1e-3 and rows.max() <= 1 + 1e-3
    if inside and np.abs(rows.sum(axis=1) - 1).max() <= _UNIT_LENGTH:
        return ""
    lengths = np.linalg.norm(rows, axis=1)
    if np.abs(lengths - 1).max() <= _UNIT_LENGTH:
        return "every answer has length 1, and nobody names labels"
    return ""


def _is_vector(answers: np.ndarray) -> bool:
    return max(answers.shape[1:], default=1) == answers[0].size


def _form(given: Sequence[np.ndarray]) -> str:
    if len(given) > 1:
        return f"{len(given)} outputs, such as a detection head has"
    if _is_vector(given[0]):
        return "one number" if given[0][0].size == 1 else "a feature vector"
    return "a map" if given[0].ndim == 4 else "a detection head"


def _shapes(facts: Facts, given: Sequence[np.ndarray]) -> str:
    shown = [
        f"{tensor.name} {'x'.join(map(str, values.shape[1:])) or 'one number'}"
        for tensor, values in zip(facts.outputs[:6], given, strict=False)
    ]
    return ", ".join([*shown, *(["…"] if len(given) > len(shown) else [])])
