"""Shapes that a TFLite graph computes from the size of the batch, as constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.graph import TfliteGraph

_OP = schema.BuiltinOperator


def fold_reshapes(graph: TfliteGraph) -> None:
    """Replace shapes that are computed from the batch size by constants such as (-1, 4608).

    Keras' Flatten computes its target shape at run time (SHAPE, STRIDED_SLICE, PACK); the
    result is then a dynamic tensor, which neither XNNPACK nor a microcontroller takes.
    """
    for operator in graph.operators:
        if graph.code(operator) != _OP.RESHAPE:
            continue
        signature = graph.tensors[operator.outputs[0]].shapeSignature
        if signature is not None and list(signature).count(-1) == 1:
            _reshape_to(graph, operator, np.asarray(signature, np.int32))
    graph.drop_dead_operators()


def free_batch(graph: TfliteGraph) -> None:
    """Reshapes to a batch of one become ones to any batch: for one picture the same."""
    for operator in graph.operators:
        if graph.code(operator) != _OP.RESHAPE or len(operator.inputs) < 2:
            continue
        shape = graph.constant(int(operator.inputs[1]))
        before = graph.tensors[operator.inputs[0]].shape
        plain = shape is not None and shape.ndim == 1 and len(shape) > 1 and (shape > 0).all()
        if shape is None or not plain or shape[0] != 1 or not len(before) or before[0] != 1:
            continue
        _reshape_to(graph, operator, np.array([-1, *shape[1:]], np.int32))


def fix_batch(graph: TfliteGraph) -> None:
    """Shapes of transposed convolutions, computed from the batch, become those of one picture.

    What computes them reads an activation: a quantiser would leave that in float.
    """
    for operator in graph.operators:
        if graph.code(operator) != _OP.TRANSPOSE_CONV:
            continue
        shape = np.array(graph.tensors[operator.outputs[0]].shape, np.int32)
        if graph.constant(int(operator.inputs[0])) is None and (shape > 0).all():
            operator.inputs = [graph.add_constant(shape, "shape"), *operator.inputs[1:]]
    graph.drop_dead_operators()


def _reshape_to(graph: TfliteGraph, operator: Any, shape: np.ndarray) -> None:
    operator.inputs = [operator.inputs[0], graph.add_constant(shape, "shape")]
    # The same shape lives in the operator's options; the two must agree.
    operator.builtinOptions = None
    operator.builtinOptionsType = schema.BuiltinOptions.NONE
