"""How a quantised file is to be made: what repair may change about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_runtime.target import OnnxScheme

CalibrationMethod = Literal["minmax", "percentile", "entropy", "mse"]


@dataclass(frozen=True)
class QuantisationPlan:
    """What differs between one attempt at quantising and another.

    Attributes:
        method: how the range of an activation is found from calibration pictures: its smallest and
            largest value, the middle `percentile` of its values, the range that changes the
            distribution least (entropy), or the one that changes the values least (mse).
        percentile: per cent of an activation's values that its range holds.
        pictures: at most so many calibration pictures; 0 means all there are.
        keep: outputs of the layers that stay in higher precision, by tensor name (TFLite) or node
            name (ONNX).
        keep_as: that precision. int16 is for TFLite only: its activations have 16 bits then.
        correct_biases: whether biases take back the shift that rounded weights give.
        scheme: of int8 ONNX: what is signed, and what is symmetric.
    """

    method: CalibrationMethod = "minmax"
    percentile: float = 99.99
    pictures: int = 0
    keep: frozenset[str] = frozenset()
    keep_as: Literal["float32", "int16"] = "float32"
    correct_biases: bool = True
    scheme: OnnxScheme = "s8s8"

    @property
    def calibration(self) -> str:
        """How ranges are found, in words."""
        if self.method == "percentile":
            return f"middle {self.percentile:g} % of values"
        return {
            "minmax": "smallest and largest value",
            "entropy": "least entropy",
            "mse": "least squared error",
        }[self.method]
