"""What real pictures show of a float ONNX graph, each figure found once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from converters.histogram import Range
from converters.onnx.graph import OnnxGraph
from converters.onnx.ranges import chosen, sample
from converters.quantisation_plan import QuantisationPlan
from converters.sample import Sample


@dataclass(frozen=True, eq=False)
class OnnxCalibration:
    """A float ONNX graph and what pictures show of it.

    Attributes:
        model: the float32 file.
        pixels: uint8, (samples, H, W, 3).
    """

    model: bytes
    pixels: np.ndarray
    _samples: dict[int, Sample] = field(default_factory=dict)

    def ranges(self, plan: QuantisationPlan) -> Mapping[str, Range]:
        """The range that each activation is to hold, by tensor name. Raises ConversionError."""
        seen = self.sample(plan.pictures)
        return chosen(OnnxGraph(self.model), seen, plan.method, plan.percentile)

    def sample(self, pictures: int = 0) -> Sample:
        """What all pictures show, or the first so many. Raises ConversionError."""
        if pictures not in self._samples:
            pixels = self.pixels[: pictures or None]
            self._samples[pictures] = sample(OnnxGraph(self.model), pixels)
        return self._samples[pictures]
