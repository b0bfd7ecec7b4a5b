"""Which files a bundle holds, and how each is made from the two float graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from converters import float_graphs, quantize_onnx, quantize_tflite
from converters.errors import ConversionError
from edge_runtime.errors import did_you_mean
from edge_runtime.manifest import Format, Precision


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What variants are made of. The float graphs are made on first use, once.

    Attributes:
        model: the trained Keras model.
        calibration: uint8, (samples, H, W, 3): real inputs.
    """

    model: Any
    calibration: np.ndarray

    @cached_property
    def tflite(self) -> bytes:
        """The float32 TFLite file."""
        return float_graphs.tflite_from_keras(self.model)

    @cached_property
    def onnx(self) -> bytes:
        """The float32 ONNX file."""
        return float_graphs.onnx_from_tflite(self.tflite)


@dataclass(frozen=True)
class Recipe:
    """One variant and how it is made. `make` raises ConversionError."""

    format: Format
    precision: Precision
    make: Callable[[Ingredients], bytes]

    @property
    def name(self) -> str:
        return f"{self.format}-{self.precision}"


RECIPES = (
    Recipe("tflite", "float32", lambda i: i.tflite),
    Recipe("tflite", "float16", lambda i: quantize_tflite.float16(i.tflite)),
    Recipe("tflite", "dynamic", lambda i: quantize_tflite.dynamic(i.tflite)),
    Recipe("tflite", "int8", lambda i: quantize_tflite.int8(i.tflite, i.calibration)),
    Recipe("onnx", "float32", lambda i: i.onnx),
    Recipe("onnx", "int8", lambda i: quantize_onnx.int8(i.onnx, i.calibration)),
)


def recipes(names: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """The recipes of those names, in the table's order; all when none is named.

    Raises:
        ConversionError: for a name that is not in the table.
    """
    known = [recipe.name for recipe in RECIPES]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConversionError(f"No variant {name!r}.{hint} Known: {', '.join(known)}.")
    return tuple(recipe for recipe in RECIPES if not names or recipe.name in names)
