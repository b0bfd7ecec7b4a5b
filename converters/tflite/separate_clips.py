"""Clips to -1 and 1 taken out of the operators that they are fused into: tf2onnx has no such."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from converters.tflite.graph import TfliteGraph

_FUSED = schema.ActivationFunctionType
_CLIP = schema.BuiltinOperator.RELU_N1_TO_1


def with_separate_clips(tflite: bytes) -> bytes:
    """Give every fused RELU_N1_TO_1 an operator of its own, which answers under the old name."""
    graph = TfliteGraph(tflite)
    fused = [o for o in graph.operators if _activation(o) == _FUSED.RELU_N1_TO_1]
    if not fused:
        return tflite
    for operator in fused:
        operator.builtinOptions.fusedActivationFunction = _FUSED.NONE
        answer = int(operator.outputs[0])
        tensor = deepcopy(graph.tensors[answer])
        tensor.name += b"/before_clip"
        graph.tensors.append(tensor)
        operator.outputs = [len(graph.tensors) - 1]
        clip = graph.new_operator(_CLIP, operator.outputs, [answer])
        graph.operators.insert(graph.operators.index(operator) + 1, clip)
    return graph.to_bytes()


def _activation(operator: Any) -> int:
    return getattr(operator.builtinOptions, "fusedActivationFunction", _FUSED.NONE)
