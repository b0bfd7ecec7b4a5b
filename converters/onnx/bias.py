"""`tflite.bias` for ONNX files: the same formula on the same kind of means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.onnx.graph import OnnxGraph
from converters.onnx.ranges import WEIGHTED


def correct_biases(exact: OnnxGraph, made: OnnxGraph, means: Mapping[str, np.ndarray]) -> None:
    """Correct the biases of `made`, a quantised form of `exact`, in place.

    Layers are matched by their nodes' names. One without a bias, or whose input has no mean, stays
    as it is.

    Args:
        means: of what each weighted layer reads, by tensor name: float64, (channels,).
    """
    originals = {node.name: node for node in exact.nodes if node.op_type in WEIGHTED}
    for node in made.nodes:
        original = originals.get(node.name)
        if node.op_type not in WEIGHTED or original is None or len(node.input) < 3:
            continue
        mean = means.get(original.input[0])
        true, stored = exact.constants.get(original.input[1]), _value(made, node.input[1])
        if mean is not None and true is not None and stored is not None:
            error = true.astype(np.float64) - stored
            _add_to_bias(made, node, _shift(error, mean, node))


def _value(graph: OnnxGraph, tensor: str) -> np.ndarray | None:
    """What a weight amounts to at run time, as float64."""
    if tensor in graph.constants:
        return graph.constants[tensor].astype(np.float64)
    node = graph.producer(tensor)
    if node is None or node.op_type not in ("Cast", "DequantizeLinear", "QuantizeLinear"):
        return None
    inner = _value(graph, node.input[0])
    if inner is None or node.op_type == "Cast":
        return inner
    scale, zero = _parameters(graph, node, inner.ndim)
    if node.op_type == "DequantizeLinear":
        return np.asarray((inner - zero) * scale)
    limits = np.iinfo(graph.constants[node.input[2]].dtype)
    return np.clip(np.round(inner / scale) + zero, limits.min, limits.max)


def _parameters(graph: OnnxGraph, node: Any, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a quantising node, shaped to fit its tensor."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    found = []
    for tensor in node.input[1:3]:
        values = graph.constants[tensor].astype(np.float64)
        shape = [1] * ndim
        if values.size > 1:
            shape[axis] = values.size
        found.append(values.reshape(shape))
    return found[0], found[1] if len(found) > 1 else np.zeros(1)


def _shift(error: np.ndarray, mean: np.ndarray, node: Any) -> np.ndarray:
    """The output's mean error for each channel, (out,).

    Weights are (out, in / groups, h, w) for a Conv; for a Gemm (in, out), or (out, in) with transB.
    """
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Gemm":
        return np.asarray((error if attributes.get("transB") else error.T) @ mean)
    per_input = error.sum(axis=tuple(range(2, error.ndim)))
    groups = attributes.get("group", 1)
    inputs = mean.reshape(groups, -1)  # (groups, in / groups)
    of_group = np.repeat(np.arange(groups), len(error) // groups)
    return np.asarray((per_input * inputs[of_group]).sum(axis=1))


def _add_to_bias(graph: OnnxGraph, node: Any, shift: np.ndarray) -> None:
    tensor = node.input[2]
    if tensor in graph.constants:
        bias = graph.constants[tensor]
        if bias.size == shift.size:
            corrected = (bias.astype(np.float64).ravel() + shift).reshape(bias.shape)
            node.input[2] = graph.add_constant(f"{tensor}/corrected", corrected.astype(bias.dtype))
        return
    dequantize = graph.producer(tensor)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return
    steps = graph.constants.get(dequantize.input[0])
    if steps is None or steps.size != shift.size or not np.issubdtype(steps.dtype, np.integer):
        return
    scale, _ = _parameters(graph, dequantize, steps.ndim)
    limits = np.iinfo(steps.dtype)
    corrected = np.clip(np.round(steps + shift / scale), limits.min, limits.max)
    name = graph.add_constant(f"{dequantize.input[0]}/corrected", corrected.astype(steps.dtype))
    dequantize.input[0] = name
