"""Which layers of a quantised file are furthest from the float graph's, and which make it so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from converters.layer_names import Layer, layer_name
from converters.onnx.probe import OnnxProbe
from converters.tflite.graph import TfliteGraph
from converters.tflite.probe import TensorProbe
from edge_runtime.manifest import LayerNoise


@dataclass(frozen=True)
class Blame:
    """One layer's noise.

    Attributes:
        key: what a `QuantisationPlan` keeps the layer by.
        layer: its name in the trained model.
        operator: such as `CONV_2D`.
        position: its place in the order of execution.
        noise: power of the output's error over the power of the float output; 0 is exact.
        own: how much of `noise` its inputs did not have yet.
    """

    key: str
    layer: str
    operator: str
    position: int
    noise: float
    own: float

    def record(self) -> LayerNoise:
        """As a bundle tells it."""
        return LayerNoise(
            layer=self.layer,
            operator=self.operator,
            sqnr_db=_decibels(self.noise),
            own_db=_decibels(self.own),
        )


def blame_tflite(reference: bytes, variant: bytes, pictures: np.ndarray) -> list[Blame]:
    """Compare every layer of two TFLite files that were made from one graph, the noisiest first.

    Layers that answer 0 on all pictures are left out.

    Args:
        reference: the float32 file.
        pictures: uint8, (samples, H, W, 3).
    """
    exact, made = TfliteGraph(reference), TfliteGraph(variant)
    layers = tflite_layers(exact)
    wanted = {layer.output for layer in layers}
    ours = {i: exact.name(i) for n in exact.nodes() for i in n.outputs if exact.name(i) in wanted}
    theirs = {i: made.name(i) for n in made.nodes() for i in n.outputs if made.name(i) in wanted}
    first, second = TensorProbe(reference, ours), TensorProbe(variant, theirs)

    def pair(picture: np.ndarray) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        raw = second.run(picture)
        return first.run(picture), {
            name: made.dequantised(index, raw[name]) for index, name in theirs.items()
        }

    return _rank(layers, pictures, pair)


def tflite_layers(graph: TfliteGraph) -> list[Layer]:
    """Every operator of a float graph that makes numbers, in order."""
    return [
        Layer(
            key=graph.name(n.outputs[0]),
            output=graph.name(n.outputs[0]),
            operator=n.code,
            inputs=tuple(graph.name(i) for i in n.inputs if i >= 0),
        )
        for n in graph.nodes()
        if graph.dtype(n.outputs[0]) == "FLOAT32"
    ]


def blame_onnx(reference: bytes, variant: bytes, pictures: np.ndarray) -> list[Blame]:
    """The same of two ONNX files."""
    first, second = OnnxProbe(reference), OnnxProbe(variant)
    return _rank(
        first.layers(), pictures, lambda picture: (first.run(picture), second.run(picture))
    )


def _rank(
    layers: list[Layer],
    pictures: np.ndarray,
    pair: Callable[[np.ndarray], tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
) -> list[Blame]:
    signal: dict[str, float] = {}
    error: dict[str, float] = {}
    for picture in pictures:
        exact, made = pair(picture[np.newaxis])
        for name in exact.keys() & made.keys():
            if exact[name].size != made[name].size:
                continue
            true = exact[name].astype(np.float64).ravel()
            difference = made[name].astype(np.float64).ravel() - true
            signal[name] = signal.get(name, 0.0) + float(true @ true)
            error[name] = error.get(name, 0.0) + float(difference @ difference)
    # A layer that answers 0 on all pictures has no signal that noise could be compared with.
    noise = {name: error[name] / signal[name] for name in signal if signal[name] > 0}
    found = []
    for position, layer in enumerate(layers):
        if layer.output in noise:
            before = max((noise[i] for i in layer.inputs if i in noise), default=0.0)
            found.append(
                Blame(
                    key=layer.key,
                    layer=layer_name(layer.output),
                    operator=layer.operator,
                    position=position,
                    noise=noise[layer.output],
                    own=max(0.0, noise[layer.output] - before),
                )
            )
    return sorted(found, key=lambda b: -b.noise)


def _decibels(noise: float) -> float | None:
    return -10 * math.log10(noise) if noise > 0 else None
