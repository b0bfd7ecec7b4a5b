"""Small, exact edits of where a TFLite graph begins and ends.

Inside, a quantised graph's pixels and answers are int8; outside, both are uint8, which moves the
zero point by 128 and keeps every level what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.tflite.graph import TfliteGraph, steps_of

_OP = schema.BuiltinOperator
_TYPE = schema.TensorType


@dataclass(frozen=True)
class InputAffine:
    """What a float graph does first with a pixel: `value = pixel * scale + offset`."""

    scale: float
    offset: float

    @property
    def zero_point(self) -> float:
        """The pixel level whose value is 0; a whole number when quantisation can be exact."""
        return -self.offset / self.scale


def cut_input_affine(graph: TfliteGraph) -> InputAffine:
    """Remove the cast and the scaling of pixels; their float result becomes the input.

    Raises:
        ConversionError: when the graph does not begin with a cast of uint8 pixels.
    """
    value, scale, offset, cut = graph.input, 1.0, 0.0, []
    while (operator := graph.only_user(value)) is not None:
        code = graph.code(operator)
        if code == _OP.CAST:
            pass
        elif code in (_OP.MUL, _OP.ADD, _OP.SUB) and value == operator.inputs[0]:
            constant = _scalar(graph, int(operator.inputs[1]))
            if constant is None or graph.is_clipped(operator):
                break
            if code == _OP.MUL:
                scale, offset = scale * constant, offset * constant
            else:
                offset += constant if code == _OP.ADD else -constant
        else:
            break
        cut.append(operator)
        value = int(operator.outputs[0])
    if not cut or graph.dtype(value) != "FLOAT32" or scale <= 0:
        raise ConversionError("The TFLite graph does not begin with scaling of uint8 pixels.")
    graph.operators = [o for o in graph.operators if not any(o is c for c in cut)]
    graph.set_input(value)
    return InputAffine(scale, offset)


def _scalar(graph: TfliteGraph, tensor: int) -> float | None:
    """The one number that a constant float tensor holds, also when repeated; else `None`."""
    numbers = graph.constant(tensor)
    if numbers is None or numbers.dtype != np.float32 or len(np.unique(numbers)) != 1:
        return None
    return float(numbers.flat[0])


def shift_input(graph: TfliteGraph, shift: float) -> bool:
    """Let every input be smaller by `shift`, with the same results.

    The first layer's bias takes it up: exactly, but where its padding reaches, which stays 0.

    Returns:
        False when the first layer has no weights, and nothing was changed.
    """
    node = next((n for n in graph.nodes() if graph.input in n.inputs), None)
    axes = {"CONV_2D": (1, 2, 3), "DEPTHWISE_CONV_2D": (0, 1, 2), "FULLY_CONNECTED": (1,)}
    if graph.only_user(graph.input) is None or node is None or node.code not in axes:
        return False
    weights = graph.constant(node.inputs[1])
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if weights is None or bias is None:
        return False
    moved = bias + shift * weights.sum(axis=axes[node.code], dtype=np.float64)
    graph.set_constant(node.inputs[2], moved.astype(np.float32))
    return True


def prepend_uint8_input(graph: TfliteGraph, name: str, *, scale: float, zero_point: int) -> None:
    """Let a graph take uint8 pixels of that step and zero: one operator at its front.

    QUANTIZE before an int8 graph moves the zero point by 128, before an int16 one it widens,
    and DEQUANTIZE before a float one gives the levels' values: all 256 stay apart in each.
    """
    old = graph.input
    new = graph.add_tensor(name, graph.tensors[old].shape, _TYPE.UINT8, steps_of(scale, zero_point))
    graph.tensors[new].name = name.encode()
    graph.tensors[new].shapeSignature = graph.tensors[old].shapeSignature
    code = _OP.DEQUANTIZE if graph.dtype(old) == "FLOAT32" else _OP.QUANTIZE
    graph.operators.insert(0, graph.new_operator(code, [new], [old]))
    graph.set_input(new)


def append_uint8_output(graph: TfliteGraph) -> None:
    """Let an int8 graph answer uint8: one QUANTIZE operator that moves the zero point by 128.

    MediaPipe's tasks refuse a model with an int8 output.

    Raises:
        ConversionError: when the output is not int8.
    """
    old = graph.output
    if graph.dtype(old) != "INT8":
        raise ConversionError(
            f"The TFLite graph's output is {graph.dtype(old)}; only INT8 becomes UINT8."
        )
    inner = graph.tensors[old]
    name, inner.name = inner.name, inner.name + b"_int8"
    held = inner.quantization
    steps = steps_of(float(held.scale[0]), int(held.zeroPoint[0]) + 128)
    new = graph.add_tensor("outer", inner.shape, _TYPE.UINT8, steps)
    graph.tensors[new].name = name
    graph.tensors[new].shapeSignature = inner.shapeSignature
    graph.operators.append(graph.new_operator(_OP.QUANTIZE, [old], [new]))
    graph.set_output(new)


def end_at(graph: TfliteGraph, tensor: int) -> None:
    """Let an inner tensor be the output, without the operators behind it."""
    graph.set_output(tensor)
    graph.drop_dead_operators()
