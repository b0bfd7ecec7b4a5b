"""Taking back the shift that rounded weights give a layer's output, in its bias.

Where inputs are mostly of one sign, as after a ReLU, the rounding errors of a channel's weights add
up to a constant instead of averaging out; in MobileNets it is the larger part of the noise. The
constant is known: the weights' error times the inputs' mean. Taken off the bias, it costs neither a
byte nor time.

Source: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization
and Bias Correction", ICCV 2019, section 4.2; the means are observed here instead of derived.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters.tflite.graph import Node, TfliteGraph

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def correct_biases(float_tflite: bytes, quantised: bytes, means: Mapping[str, np.ndarray]) -> bytes:
    """The quantised file with corrected biases.

    Args:
        float_tflite: the graph that it was made from; layers are matched by their outputs' names.
        means: mean of what each layer reads in the float graph, by tensor name: (channels,).
    """
    reference, graph = TfliteGraph(float_tflite), TfliteGraph(quantised)
    originals = {reference.name(n.outputs[0]): n for n in reference.nodes() if n.code in _WEIGHTED}
    producers = {output: node for node in graph.nodes() for output in node.outputs}
    for node in graph.nodes():
        original = originals.get(graph.name(node.outputs[0]))
        if node.code not in _WEIGHTED or original is None or len(node.inputs) < 3:
            continue
        exact = reference.constant(original.inputs[1])
        stored = _weights(graph, node.inputs[1], producers)
        mean = means.get(reference.name(original.inputs[0]))
        if exact is not None and stored is not None and mean is not None:
            shift = _shift(exact.astype(np.float64) - stored, mean, node.code)
            _add_to_bias(graph, graph.own_input(node, 2), shift)
    return graph.to_bytes()


def _weights(graph: TfliteGraph, tensor: int, producers: Mapping[int, Node]) -> np.ndarray | None:
    """What the layer multiplies with, as float64; also where it is unpacked at run time."""
    if tensor in producers and producers[tensor].code == "DEQUANTIZE":
        tensor = producers[tensor].inputs[0]
    values, scales = graph.constant(tensor), graph.scales(tensor)
    if values is None:
        return None
    return values.astype(np.float64) * (1.0 if scales is None else scales)


def _shift(error: np.ndarray, mean: np.ndarray, code: str) -> np.ndarray:
    """The output's mean error for each channel, (channels,).

    Weights are (1, h, w, out) for a depthwise convolution, (out, h, w, in) for a convolution and
    (out, in) for a dense layer. Padding is taken for ordinary input: its share is small.
    """
    if code == "DEPTHWISE_CONV_2D":
        return np.asarray(error.sum(axis=(0, 1, 2)) * np.repeat(mean, error.shape[-1] // len(mean)))
    per_input = error.reshape(len(error), -1, error.shape[-1]).sum(axis=1)
    if per_input.shape[1] != len(mean):  # a dense layer behind a flattened map
        return np.zeros(len(error))
    return np.asarray(per_input @ mean)


def _add_to_bias(graph: TfliteGraph, tensor: int, shift: np.ndarray) -> None:
    bias, scales = graph.constant(tensor), graph.scales(tensor)
    if bias is None or len(bias) != len(shift):
        return
    if scales is None:
        graph.set_constant(tensor, (bias + shift).astype(bias.dtype))
        return
    limits = np.iinfo(bias.dtype)
    corrected = np.round(bias.astype(np.float64) + shift / scales)
    graph.set_constant(tensor, np.clip(corrected, limits.min, limits.max).astype(bias.dtype))
