"""What tf2onnx leaves behind, taken out: stray Transposes and Reshapes, and unreadable names.

Each function edits an `OnnxGraph` without changing what it answers by more than float rounding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.onnx.graph import NHWC_TO_NCHW, OnnxGraph, Shape, first_free
from converters.onnx.spelled_out import spell_out

# Elementwise: the order of axes is nothing to them. Further inputs of Clip are single numbers.
_UNARY = (
    *("Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
    *("Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"),
)
_BINARY = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
_SPATIAL_NCHW = (2, 3)
# How far the level that means 0 may lie from a whole one to count as it: float32's own rounding.
_WHOLE_LEVEL = 1e-3

# What the last part of a TensorFlow name begins with, by the operator that came of it.
_WORDS = {
    "Conv": ("convolution", "depthwise", "separable_conv", "Conv"),
    "ConvTranspose": ("conv_transpose", "conv2d_transpose"),
    "Gemm": ("MatMul", "Tensordot", "einsum"),
    "MatMul": ("MatMul", "Tensordot", "einsum"),
    "Relu": ("Relu",),
    "Clip": ("Relu", "clip"),
}
# Inputs that hold what was learned, by the schema's name for them.
_ROLES = {
    ("Conv", "W"): "weight",
    ("Conv", "B"): "bias",
    ("ConvTranspose", "W"): "weight",
    ("ConvTranspose", "B"): "bias",
    ("Gemm", "B"): "weight",
    ("Gemm", "C"): "bias",
    ("MatMul", "B"): "weight",
}
_COUNTER = re.compile(r"_\d+$")


def tidy(graph: OnnxGraph, *, input_name: str, output_names: Sequence[str]) -> None:
    """Do all of it; the result is named after the Keras layers.

    Args:
        output_names: of each output, in order.

    Raises:
        ConversionError: when tf2onnx has left an operator that ONNX does not have.
    """
    spell_out(graph)
    require_standard_operators(graph)
    turned_constants(graph)
    reshapes_of_one_pixel(graph)
    sink_transposes(graph)
    pools_and_flattens(graph)
    transposes_into_weights(graph)
    dense_layers_as_gemm(graph)
    scale_into_first_convolution(graph)
    graph.drop_dead()
    rename(graph, input_name=input_name, output_names=output_names)


def require_standard_operators(graph: OnnxGraph) -> None:
    """Raises ConversionError for what tf2onnx passed on because it does not know it."""
    from onnx import defs

    counted = _layers_are_counted(node.name for node in graph.nodes)
    for node in graph.nodes:
        if not defs.has(node.op_type, node.domain):
            layer = _layer(node.name, node.op_type, counted) or node.name
            raise ConversionError(
                f"Layer {layer!r} uses {node.op_type.removeprefix('TFL_')}, which tf2onnx cannot "
                "convert. Replace the layer, or make TFLite files only."
            )


def turned_constants(graph: OnnxGraph) -> None:
    """Turn constants about now: weights that tf2onnx has not seen keep their shape until here.

    Those of 1x1 convolutions it reshapes, where it transposes others.
    """
    for node in list(graph.nodes):
        if node.op_type not in ("Transpose", "Reshape"):
            continue
        if not all(name in graph.constants for name in node.input):
            continue
        value = graph.constants[node.input[0]]
        if node.op_type == "Transpose":
            turned = value.transpose(_perm(node))
        else:
            shape = graph.constants[node.input[1]]
            # In ONNX, 0 is as many as there were.
            turned = value.reshape([side or value.shape[axis] for axis, side in enumerate(shape)])
        graph.read_instead(node.output[0], graph.add_constant(node.output[0], turned))
        graph.remove([node])


def reshapes_of_one_pixel(graph: OnnxGraph) -> None:
    """Reshapes that change nothing go; those of a 1x1 map become Transposes, which cancel."""
    shapes = graph.shapes()
    for node in list(graph.nodes):
        if node.op_type != "Reshape" or node.output[0] in graph.output_names:
            continue
        before, after = (shapes.get(t, ()) for t in (node.input[0], node.output[0]))
        if len(before) != len(after) or len(before) == 0:
            continue
        if before[1:] == after[1:]:
            graph.read_instead(node.output[0], node.input[0])
            graph.remove([node])
        elif len(before) == 4:
            for perm in (NHWC_TO_NCHW, (0, 2, 3, 1)):
                permuted = tuple(before[axis] for axis in perm)
                pixels = before[2:] if perm == (0, 2, 3, 1) else before[1:3]
                if pixels == (1, 1) and permuted[1:] == after[1:]:
                    graph.remove([node])
                    graph.add_node(
                        "Transpose", node.input[:1], node.output[0], node.name, perm=list(perm)
                    )
                    break


def sink_transposes(graph: OnnxGraph) -> None:
    """Push Transposes down through what works on elements, until they cancel each other.

    tf2onnx does this itself but does not know HardSwish: MobileNetV3 keeps 36 Transposes.
    """
    while True:
        moved = [_sink_past(graph, node) for node in list(graph.nodes)]
        graph.drop_dead()
        if not any(moved):
            return


def _sink_past(graph: OnnxGraph, node: Any) -> bool:
    """Exchange one node with the Transposes right above it, where that is the same."""
    if node.output[0] in graph.output_names:
        return False
    above = [graph.producer(tensor) for tensor in node.input]
    above = [t if t is not None and t.op_type == "Transpose" else None for t in above]
    first = next((t for t in above if t is not None), None)
    if first is None:
        return False
    perm = _perm(first)
    if node.op_type == "Transpose":
        return _join(graph, first, node)
    if node.op_type in _UNARY:
        node.input[0] = first.input[0]
    elif node.op_type in _BINARY:
        inner = [
            _constant_before(graph, tensor, perm)
            if tensor in graph.constants
            else _before(transpose, perm)
            for tensor, transpose in zip(node.input, above, strict=True)
        ]
        if None in inner:
            return False
        node.input[:] = inner
    elif node.op_type == "ReduceMean":
        axes, keepdims = _attribute(node, "axes"), _attribute(node, "keepdims", 1)
        if axes is None:  # since opset 18 they are an input; before, none means all
            return False
        axes = sorted(perm[axis] for axis in axes)
        left = [axis for axis in perm if axis not in axes]
        if not keepdims and left != sorted(left):
            return False
        node.input[0] = first.input[0]
        _set_attribute(node, "axes", axes)
        if not keepdims:
            return True  # the Transpose is gone with the axes it moved
    else:
        return False
    after = node.output[0]
    node.output[0] = graph.fresh(f"{after}/inner")
    graph.add_node("Transpose", [node.output[0]], after, node.name, perm=list(perm))
    return True


def _before(transpose: Any | None, perm: tuple[int, ...]) -> str | None:
    """What goes into a Transpose, if it is that one."""
    same = transpose is not None and _perm(transpose) == perm
    return str(transpose.input[0]) if transpose is not None and same else None


def _join(graph: OnnxGraph, first: Any, second: Any) -> bool:
    inner = _perm(first)
    joined = [inner[axis] for axis in _perm(second)]
    if joined == sorted(joined):
        graph.read_instead(second.output[0], first.input[0])
        graph.remove([second])
    else:
        second.input[0] = first.input[0]
        _set_attribute(second, "perm", joined)
    return True


def _constant_before(graph: OnnxGraph, tensor: str, perm: tuple[int, ...]) -> str:
    """A constant as it must be before the Transpose that its operation has changed places with."""
    values = graph.constants[tensor]
    if values.size == 1:
        return tensor
    values = values.reshape((1,) * (len(perm) - values.ndim) + values.shape)
    return graph.add_constant(f"{tensor}/inner", values.transpose(np.argsort(perm)))


def pools_and_flattens(graph: OnnxGraph) -> None:
    """Means over the picture become GlobalAveragePool; what only drops axes becomes Flatten.

    Quantisers and other runtimes know those two; ReduceMean and Squeeze they may not.
    """
    shapes = graph.shapes()
    for node in list(graph.nodes):
        before, after = (shapes.get(t, ()) for t in (node.input[0], node.output[0]))
        if node.op_type == "ReduceMean" and len(before) == 4:
            axes = _attribute(node, "axes")
            if axes is None or tuple(sorted(axes)) != _SPATIAL_NCHW:
                continue
            graph.remove([node])
            if len(after) == 4:
                graph.add_node("GlobalAveragePool", node.input[:1], node.output[0], node.name)
            else:
                pooled = graph.fresh(f"{node.output[0]}/pooled")
                graph.add_node("GlobalAveragePool", node.input[:1], pooled, node.name)
                graph.add_node("Flatten", [pooled], node.output[0], node.name, axis=1)
        elif node.op_type in ("Reshape", "Squeeze") and _flattens(before, after):
            graph.remove([node])
            graph.add_node("Flatten", node.input[:1], node.output[0], node.name, axis=1)


def _flattens(before: Shape, after: Shape) -> bool:
    numbers = [n for n in before[1:] if isinstance(n, int)]
    return (
        len(before) > 2
        and len(after) == 2
        and len(numbers) == len(before) - 1
        and math.prod(numbers) == after[1]
    )


def transposes_into_weights(graph: OnnxGraph) -> None:
    """A Transpose before Flatten and dense layers is the order of the rows of their weights."""
    shapes = graph.shapes()
    for flatten in [n for n in graph.nodes if n.op_type == "Flatten"]:
        transpose = graph.producer(flatten.input[0])
        users = graph.users(flatten.output[0])
        dense = all(
            user.op_type == "MatMul"
            and user.input[0] == flatten.output[0]
            and user.input[1] in graph.constants
            for user in users
        )
        answered = flatten.output[0] in graph.output_names
        if transpose is None or transpose.op_type != "Transpose" or not dense or answered:
            continue
        perm, shape = _perm(transpose), shapes[flatten.input[0]]
        back = [axis - 1 for axis in np.argsort(perm)[1:]]
        if perm[0] != 0:
            continue
        for user in users:
            weight = graph.constants[user.input[1]]
            rows = weight.reshape([int(n) for n in shape[1:]] + [weight.shape[1]])
            rows = rows.transpose(*back, len(back)).reshape(weight.shape)
            user.input[1] = graph.add_constant(f"{user.input[1]}/rows", rows)
        flatten.input[0] = transpose.input[0]


def dense_layers_as_gemm(graph: OnnxGraph) -> None:
    """MatMul and Add of a bias become Gemm: one operator, whose bias int8 keeps in 32 bits."""
    shapes = graph.shapes()
    for product in [n for n in graph.nodes if n.op_type == "MatMul"]:
        add = graph.only_user(product.output[0])
        if add is None or add.op_type != "Add" or product.input[1] not in graph.constants:
            continue
        bias = next((t for t in add.input if t in graph.constants), None)
        weight = graph.constants[product.input[1]]
        if bias is None or len(shapes.get(product.input[0], ())) != 2:
            continue
        if graph.constants[bias].size != weight.shape[1]:
            continue
        flat = graph.add_constant(f"{bias}/flat", graph.constants[bias].ravel())
        graph.remove([product, add])
        graph.add_node("Gemm", [*product.input, flat], add.output[0], product.name)


def scale_into_first_convolution(graph: OnnxGraph) -> None:
    """Leave of the scaling of pixels only what makes them whole numbers around 0.

    `(pixel * scale + offset)` into a convolution is `(pixel - level)` into one with weights
    `scale` times as large. Where the level is whole, such as 128, its values are exact in float32,
    in float16, and in int8 with step 1, so that all 256 levels stay distinct.
    """
    found = graph.pixel_scaling()
    first = graph.only_user(found.tensor) if found is not None else None
    if found is None or first is None or first.op_type != "Conv" or not found.nchw:
        return
    weight = graph.constants.get(first.input[1])
    if weight is None or _attribute(first, "group", 1) != 1:
        return
    scaled = weight.astype(np.float64) * found.scale.reshape(-1, 1, 1)
    level = found.zero_level
    if np.all(np.abs(level - np.round(level)) < _WHOLE_LEVEL):
        level = np.round(level)
    graph.remove(found.nodes)
    cast, nchw = (graph.fresh(name) for name in ("pixel/float", "pixel/nchw"))
    graph.add_node("Cast", [graph.input.name], cast, "", to=1)
    graph.add_node("Transpose", [cast], nchw, "", perm=list(NHWC_TO_NCHW))
    if np.any(level != 0):
        shape = (-1, 1, 1) if level.size > 1 else ()
        middle = graph.add_constant("pixel/centre", (-level).astype(np.float32).reshape(shape))
        centred = graph.fresh("pixel/centred")
        graph.add_node("Add", [nchw, middle], centred, "")
        nchw = centred
    first.input[0] = nchw
    first.input[1] = graph.add_constant(f"{first.input[1]}/scaled", scaled.astype(np.float32))


def rename(graph: OnnxGraph, *, input_name: str, output_names: Sequence[str]) -> None:
    """Name nodes and tensors after the Keras layers, and constants after who reads them.

    TFLite's names hold the layer's, once for each layer that was fused:
    `model_1/block_1_relu_1/Relu6;model_1/block_1_1/convolution`.
    """
    sources = _sources(graph)
    counted = _layers_are_counted(sources.values())
    answered = dict(zip(graph.output_names, output_names, strict=True))
    taken = {input_name, *output_names}
    tensors = {graph.input.name: input_name, **answered}
    for node in graph.nodes:
        if node.output[0] in answered:
            node.name = answered[node.output[0]]
            continue
        layer = _layer(sources[node.output[0]], node.op_type, counted) or input_name
        name = layer if layer not in taken else first_free(f"{layer}/{node.op_type}", taken)
        taken.add(name)
        node.name = tensors[node.output[0]] = name
    graph.rename_tensors(tensors)
    _rename_constants(graph, taken)


def _rename_constants(graph: OnnxGraph, taken: set[str]) -> None:
    """Single numbers are shared and named so; every other constant belongs to its one reader."""
    named: dict[str, np.ndarray] = {}
    scalars: dict[str, str] = {}
    for node in graph.nodes:
        for index, role in enumerate(_input_names(graph, node)):
            tensor = node.input[index]
            values = graph.constants.get(tensor)
            if values is None:
                continue
            if values.ndim == 0 and tensor not in scalars:
                scalars[tensor] = first_free(f"constant_{values.item():g}", {*taken, *named})
            name = scalars.get(tensor) or first_free(f"{node.name}/{role}", {*taken, *named})
            named[name] = values
            node.input[index] = name
    graph.constants = named


def _sources(graph: OnnxGraph) -> dict[str, str]:
    """The TensorFlow names that each node came from, by its output; else those of the one above.

    tf2onnx calls activations that it splits off `Relu6__12`.
    """
    found: dict[str, str] = {}
    for node in graph.nodes:
        own = node.name.partition("__")[0]
        above = next((found[t] for t in node.input if t in found), "")
        found[node.output[0]] = own if "/" in own else above
    return found


def _layers_are_counted(sources: Any) -> bool:
    """Whether TensorFlow put `_1` behind every layer's name, as it does in a second trace."""
    parts = [part.split("/") for source in sources for part in source.split(";")]
    layers = [part[1] for part in parts if len(part) > 2]
    return all(_COUNTER.search(layer) for layer in layers)


def _layer(source: str, op_type: str, counted: bool) -> str:
    """`block_1` of `model_1/block_1_1/convolution`: of several fused layers, the operator's own."""
    parts = [part.split("/") for part in source.split(";") if "/" in part]
    words = _WORDS.get(op_type, ())
    fitting = [part for part in parts if part[-1].startswith(words)] if words else []
    best = (fitting or parts or [[]])[0]
    inner = best[1:-1] if len(best) > 2 else best[1:]
    if counted and len(best) > 2:
        inner = [_COUNTER.sub("", scope) for scope in inner]
    return re.sub(r"[^\w./-]", "_", "/".join(inner))


def _input_names(graph: OnnxGraph, node: Any) -> list[str]:
    from onnx import defs

    schema = defs.get_schema(node.op_type, graph.opset, node.domain)
    names = [schema.inputs[min(i, len(schema.inputs) - 1)].name for i in range(len(node.input))]
    return [_ROLES.get((node.op_type, name), name.lower()) for name in names]


def _perm(node: Any) -> tuple[int, ...]:
    return tuple(_attribute(node, "perm"))


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    from onnx import helper

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _set_attribute(node: Any, name: str, value: Any) -> None:
    from onnx import helper

    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
