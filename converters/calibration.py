"""What real pictures show of a float TFLite graph: the range and the mean of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from converters.flatbuffer import InputAffine, TfliteGraph
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME, quiet_converters
from converters.histogram import Histogram, Range
from converters.probe import TensorProbe
from converters.quantisation_plan import CalibrationMethod, QuantisationPlan
from edge_runtime.engines.base import threads_or_all

_SIGNATURE = "serving_default"
# Enough pictures for means and histograms; ranges come from all of them.
_SAMPLED_PICTURES = 64
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
    _found: dict[tuple[str, float, int], Ranges] = field(default_factory=dict)

    @cached_property
    def _cut(self) -> tuple[InputAffine, bytes]:
        graph = TfliteGraph(self.tflite)
        affine = graph.cut_input_affine()
        graph.rename_io(INPUT_NAME, OUTPUT_NAME)
        return affine, graph.to_bytes()

    @property
    def affine(self) -> InputAffine:
        """How pixels become the core's input. Raises ConversionError, as `core` does."""
        return self._cut[0]

    @property
    def core(self) -> bytes:
        """The graph from scaled pixels on, float32 in."""
        return self._cut[1]

    def inputs(self, pictures: int = 0) -> Inputs:
        """Pictures as the core's input; all, or the first so many."""
        return Inputs(self.pixels[: pictures or None], self.affine)

    def ranges(self, plan: QuantisationPlan) -> Ranges:
        """Smallest and largest value that each activation is to hold, by tensor name."""
        extremes = ("minmax", 0.0, plan.pictures)
        if extremes not in self._found:
            self._found[extremes] = self._min_max(plan.pictures)
        whole = self._found[extremes]
        if plan.method == "minmax":
            return whole
        clipped = (plan.method, plan.percentile, 0)
        if clipped not in self._found:
            self._found[clipped] = self._clipped(plan.method, plan.percentile)
        return {name: self._found[clipped].get(name, both) for name, both in whole.items()}

    def _min_max(self, pictures: int) -> Ranges:
        """Over all pictures, inside the runtime.

        The quantiser's own `calibrate` takes a moving average of each picture's range instead. For
        a tensor of one number, such as the logit of a two-class model, that is the average logit:
        a range of nothing, and an int8 file that answers one class.
        """
        from litert_quantizer import calibrator, recipe, recipe_manager
        from litert_quantizer.utils import qsv_utils

        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe.static_wi8_ai8())
        with quiet_converters():
            observer = calibrator.Calibrator(
                self.core,
                num_threads=threads_or_all(0),
                # The same ranges as with all tensors kept, in an eighth of the time.
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
                qsv_update_func=qsv_utils.min_max_update,
            )
            observer.calibrate({_SIGNATURE: self.inputs(pictures)}, manager)
        return {
            name: (float(np.min(seen["min"])), float(np.max(seen["max"])))
            for name, seen in observer.get_model_qsvs().items()
        }

    @cached_property
    def _histograms(self) -> dict[str, Histogram]:
        histograms: dict[str, Histogram] = {}

        def collect(values: dict[str, np.ndarray]) -> None:
            for name, array in values.items():
                histograms.setdefault(name, Histogram()).add(array, name)

        self._watch(collect, _activations)
        return histograms

    def _clipped(self, method: CalibrationMethod, percentile: float) -> Ranges:
        """Ranges that leave outliers out; the head's own inputs are spared.

        What feeds the last softmax has its outliers where the model is most certain: clipped, every
        certain answer becomes a doubtful one. A swish's sigmoid is no head.
        """
        graph = TfliteGraph(self.tflite)
        nodes = graph.nodes()
        weighted = [number for number, node in enumerate(nodes) if node.code in _WEIGHTED]
        behind = nodes[max(weighted, default=-1) + 1 :]
        head = {graph.name(i) for n in behind if n.code in _HEADS for i in n.inputs}
        choose: dict[str, Callable[[Histogram], Range]] = {
            "percentile": lambda h: h.percentile(percentile),
            "entropy": Histogram.entropy,
            "mse": Histogram.least_error,
        }
        chosen = {
            name: choose[method](h) for name, h in self._histograms.items() if name not in head
        }
        return {name: (found.low, found.high) for name, found in chosen.items()}

    @cached_property
    def channel_means(self) -> dict[str, np.ndarray]:
        """Mean of what each weighted layer reads, by tensor name: float64, (channels,)."""
        sums: dict[str, np.ndarray] = {}
        count = 0

        def add(values: dict[str, np.ndarray]) -> None:
            nonlocal count
            count += 1
            for name, array in values.items():
                mean = array.reshape(-1, array.shape[-1]).mean(axis=0, dtype=np.float64)
                sums[name] = sums.get(name, 0.0) + mean

        def read_by_weights(graph: TfliteGraph) -> list[int]:
            return sorted({n.inputs[0] for n in graph.nodes() if n.code in _WEIGHTED})

        self._watch(add, read_by_weights)
        return {name: total / count for name, total in sums.items()}

    def _watch(
        self,
        see: Callable[[dict[str, np.ndarray]], None],
        choose: Callable[[TfliteGraph], list[int]],
    ) -> None:
        """Show `see` the chosen tensors of every sampled picture, by name."""
        graph = TfliteGraph(self.tflite)
        probe = TensorProbe(self.tflite, {index: graph.name(index) for index in choose(graph)})
        for picture in self.pixels[:_SAMPLED_PICTURES]:
            see(probe.run(picture[np.newaxis]))


def _activations(graph: TfliteGraph) -> list[int]:
    made = [index for node in graph.nodes() for index in node.outputs]
    return [index for index in made if graph.dtype(index) == "FLOAT32"]


class Inputs:
    """Calibration pictures as the core's float input, one at a time: all would fill memory."""

    def __init__(self, pixels: np.ndarray, affine: InputAffine) -> None:
        self._pixels, self._affine = pixels, affine

    def __len__(self) -> int:
        return len(self._pixels)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        scale, offset = np.float32(self._affine.scale), np.float32(self._affine.offset)
        for picture in self._pixels:
            yield {INPUT_NAME: picture[np.newaxis].astype(np.float32) * scale + offset}
