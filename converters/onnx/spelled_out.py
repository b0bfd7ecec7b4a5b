"""Operators of TFLite that tf2onnx passes on, spelled out in those that ONNX has.

Source of GELU: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, section 2. ONNX
has it as an operator of its own from opset 20 only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from converters.onnx.graph import OnnxGraph


class _Writer:
    """Adds nodes named after the one whose place they take; the last makes what that one made."""

    def __init__(self, graph: OnnxGraph, node: Any) -> None:
        self._graph, self._node = graph, node

    def __call__(self, op_type: str, *inputs: str) -> str:
        output = self._graph.fresh(f"{self._node.output[0]}/{op_type}")
        self._graph.add_node(op_type, inputs, output, output)
        return output

    def last(self, op_type: str, *inputs: str) -> None:
        self._graph.add_node(op_type, inputs, self._node.output[0], self._node.name)

    def number(self, name: str, value: float) -> str:
        constant = np.float32(value).reshape(())
        return self._graph.add_constant(f"{self._node.output[0]}/{name}", constant)


def spell_out(graph: OnnxGraph) -> None:
    """Put standard operators in the place of GELU, and of the clip to -1 and 1."""
    for node in list(graph.nodes):
        if node.op_type in _SPELT:
            graph.remove([node])
            _SPELT[node.op_type](_Writer(graph, node), node)


def _gelu(write: _Writer, node: Any) -> None:
    """`x / 2 * (1 + erf(x / sqrt(2)))`, in the pattern that onnxruntime fuses.

    Where TFLite's operator is the approximate one, `tanh(sqrt(2 / pi) * (x + 0.044715 x^3))` stands
    in the place of erf.
    """
    x = node.input[0]
    if any(a.name == "approximate" and a.i for a in node.attribute):
        cubed = write("Mul", write("Mul", x, x), x)
        bent = write("Add", x, write("Mul", cubed, write.number("cubic", 0.044715)))
        slope = write.number("slope", math.sqrt(2.0 / math.pi))
        step = write("Tanh", write("Mul", bent, slope))
    else:
        step = write("Erf", write("Div", x, write.number("sqrt_two", math.sqrt(2.0))))
    doubled = write("Mul", x, write("Add", step, write.number("one", 1.0)))
    write.last("Mul", doubled, write.number("half", 0.5))


def _clip_to_one(write: _Writer, node: Any) -> None:
    write.last("Clip", node.input[0], write.number("low", -1.0), write.number("high", 1.0))


_SPELT: dict[str, Callable[[_Writer, Any], None]] = {
    "TFL_GELU": _gelu,
    "TFL_RELU_N1_TO_1": _clip_to_one,
}
