"""What real pictures show of a float ONNX graph, each figure found once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from converters.histogram import Range
from converters.onnx_bias import channel_means
from converters.onnx_graph import OnnxGraph
from converters.onnx_ranges import observe
from converters.quantisation_plan import QuantisationPlan

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
    _found: dict[tuple[str, float, int], Mapping[str, Range]] = field(default_factory=dict)

    def ranges(self, plan: QuantisationPlan) -> Mapping[str, Range]:
        """The range that each activation is to hold, by tensor name. Raises ConversionError."""
        pictures = plan.pictures if plan.method == "minmax" else _SAMPLED_PICTURES
        key = (plan.method, plan.percentile, pictures)
        if key not in self._found:
            self._found[key] = observe(
                OnnxGraph(self.model),
                self.pixels[: pictures or None],
                method=plan.method,
                percentile=plan.percentile,
            )
        return self._found[key]

    @cached_property
    def means(self) -> Mapping[str, np.ndarray]:
        """Mean of what each weighted layer reads, by tensor name: (channels,)."""
        return channel_means(OnnxGraph(self.model), self.pixels[:_SAMPLED_PICTURES])
