"""Scaling that a Keras model spells out, as `preprocess_input` of `keras.applications` does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import Any

import numpy as np

# Operators of keras.ops: what they make of a pixel, or of its place.
_VALUES = {"Add", "Divide", "Multiply", "Negative", "Subtract", "TrueDivide"}
_PLACES = {"Cast", "Concatenate", "Flip", "GetItem", "Reshape", "Stack", "Transpose"}
_RANK = 4
# Sides of a trial picture, for a model that takes any.
_SIDE = 64


@dataclass(frozen=True, eq=False)
class SpelledScaling:
    """What operators make of pixels.

    Attributes:
        names: of the first and the last that change values.
        scale, offset: float64, (numbers,): every number that comes of a pixel is
            `pixel * scale + offset`.
    """

    names: str
    scale: np.ndarray
    offset: np.ndarray


def is_spelled(step: Any) -> bool:
    """Whether a layer or operator may be a part of scaling that is spelled out."""
    return type(step).__name__ in _VALUES | _PLACES


def spelled_scaling(model: Any, first: Any) -> SpelledScaling | None:
    """What the operators from `first` on make of pixels; `None` where they leave them as they are.

    Args:
        model: a functional one, in whose `operations` it is.
    """
    run = takewhile(is_spelled, dropwhile(lambda step: step is not first, model.operations))
    counting = [step for step in run if type(step).__name__ in _VALUES]
    if not counting or not _takes_one_picture(model):
        return None
    black, white = _tried(model, counting[-1])
    scale, offset = ((white - black) / 255).ravel(), black.ravel()
    if np.all(scale == 1) and np.all(offset == 0):
        return None
    ends = dict.fromkeys(repr(str(step.name)[:100]) for step in (counting[0], counting[-1]))
    return SpelledScaling(" to ".join(ends), scale, offset)


def _takes_one_picture(model: Any) -> bool:
    return len(model.inputs) == 1 and len(model.inputs[0].shape) == _RANK


def _tried(model: Any, last: Any) -> np.ndarray:
    """What becomes of a black and a white picture: one scaling is spelled in many ways."""
    from converters.keras_quiet import keras

    scaling = keras.Model(model.inputs[0], last.output)
    shape = [side or _SIDE for side in model.inputs[0].shape[1:]]
    dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
    pictures = np.stack([np.full(shape, level, dtype) for level in (0, 255)])
    return np.asarray(scaling(pictures, training=False), np.float64)
