"""What real pictures show of a float TFLite graph: the range and the mean of its activations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from converters.float_graphs import INPUT_NAME
from converters.quantisation_plan import QuantisationPlan
from converters.sample import Sample
from converters.tflite.channel_scaling import as_convolution
from converters.tflite.ends import InputAffine, cut_input_affine, shift_input
from converters.tflite.graph import TfliteGraph
from converters.tflite.probe import TensorProbe
from converters.tflite.products import as_products

_LEVELS = 255
_HEADS = ("SOFTMAX", "LOGISTIC")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

Ranges = dict[str, tuple[float, float]]


@dataclass(eq=False)
class Calibration:
    """A float TFLite graph without its pixel scaling, and what pictures show of it.

    Every figure is computed on first use and kept, so that several precisions share it.

    Attributes:
        tflite: the float32 file, uint8 in.
        pixels: uint8, (samples, H, W, 3).
    """

    tflite: bytes
    pixels: np.ndarray
    _samples: dict[int, Sample] = field(default_factory=dict)

    @cached_property
    def _cut(self) -> tuple[InputAffine, bytes]:
        graph = TfliteGraph(self.tflite)
        affine = cut_input_affine(graph)
        as_convolution(graph)
        # Pixels from -1 to 1 have 0 at level 127.5: as 127 or 128 each is off by half a level, the
        # same for all of them.
        level = round(affine.zero_point)
        whole = InputAffine(affine.scale, -level * affine.scale)
        if 0 <= level <= _LEVELS and shift_input(graph, affine.offset - whole.offset):
            affine = whole
        as_products(graph)
        graph.rename_io(INPUT_NAME, *graph.output_names)
        return affine, graph.to_bytes()

    @property
    def affine(self) -> InputAffine:
        """How pixels become the core's input. Raises ConversionError, as `core` does."""
        return self._cut[0]

    @property
    def core(self) -> bytes:
        """The graph from scaled pixels on, float32 in."""
        return self._cut[1]

    def ranges(self, plan: QuantisationPlan) -> Ranges:
        """Smallest and largest value that each activation is to hold, by tensor name.

        The quantiser's own `calibrate` takes a moving average of each picture's range instead. For
        a tensor of one number, such as the logit of a two-class model, that is the average logit:
        a range of nothing, and an int8 file that answers one class.

        What feeds the last softmax is never cut: it has its outliers where the model is most
        certain, and every certain answer would become a doubtful one. A swish's sigmoid is no head.
        """
        graph = TfliteGraph(self.tflite)
        nodes = graph.nodes()
        weighted = [number for number, node in enumerate(nodes) if node.code in _WEIGHTED]
        behind = nodes[max(weighted, default=-1) + 1 :]
        head = {graph.name(i) for n in behind if n.code in _HEADS for i in n.inputs}
        chosen = {
            name: histogram.range("minmax" if name in head else plan.method, plan.percentile)
            for name, histogram in self.sample(plan.pictures).histograms.items()
        }
        return {name: (found.low, found.high) for name, found in chosen.items()}

    def sample(self, pictures: int = 0) -> Sample:
        """What all pictures show, or the first so many."""
        if pictures not in self._samples:
            graph = TfliteGraph(self.tflite)
            read = {graph.name(n.inputs[0]) for n in graph.nodes() if n.code in _WEIGHTED}
            probe = TensorProbe(self.tflite, {i: graph.name(i) for i in _activations(graph)})
            seen = Sample(read)
            for picture in self.pixels[: pictures or None]:
                seen.add(probe.run(picture[np.newaxis]))
            self._samples[pictures] = seen
        return self._samples[pictures]


def _activations(graph: TfliteGraph) -> list[int]:
    """What is computed in float and read by somebody; half of a SPLIT may not be."""
    nodes = graph.nodes()
    read = {index for node in nodes for index in node.inputs} | set(graph.outputs)
    made = [index for node in nodes for index in node.outputs]
    return [index for index in made if index in read and graph.dtype(index) == "FLOAT32"]
