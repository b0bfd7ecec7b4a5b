"""What real pictures show of a float ONNX graph, each figure found once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from converters.histogram import Range
from converters.onnx.graph import OnnxGraph
from converters.onnx.ranges import chosen, observe, sample
from converters.quantisation_plan import QuantisationPlan
from converters.sample import Sample

# Enough for means, and for the histograms that percentile and entropy need.
_SAMPLED_PICTURES = 64


@dataclass(frozen=True, eq=False)
class OnnxCalibration:
    """A float ONNX graph and what pictures show of it.

    Attributes:
        model: the float32 file.
        pixels: uint8, (samples, H, W, 3).
    """

    model: bytes
    pixels: np.ndarray
    _extremes: dict[int, Mapping[str, Range]] = field(default_factory=dict)

    def ranges(self, plan: QuantisationPlan) -> Mapping[str, Range]:
        """The range that each activation is to hold, by tensor name. Raises ConversionError."""
        graph = OnnxGraph(self.model)
        if plan.method != "minmax":
            return chosen(graph, self._sample, plan.method, plan.percentile)
        if plan.pictures not in self._extremes:
            pixels = self.pixels[: plan.pictures or None]
            self._extremes[plan.pictures] = observe(graph, pixels)
        return self._extremes[plan.pictures]

    @property
    def means(self) -> Mapping[str, np.ndarray]:
        """Mean of what each weighted layer reads, by tensor name: (channels,)."""
        return self._sample.means

    @cached_property
    def _sample(self) -> Sample:
        return sample(OnnxGraph(self.model), self.pixels[:_SAMPLED_PICTURES])
