"""Scaling of each channel of the pixels by itself, as one 1x1 convolution.

As MUL and ADD, integers would round twice, by one step for all channels. The convolution's weights
have a step for each channel, its bias 32 bits, so that its answer alone is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.graph import TfliteGraph

_OP = schema.BuiltinOperator
_SCALING = {_OP.MUL, _OP.ADD, _OP.SUB}
_PICTURE = 4


def as_convolution(graph: TfliteGraph) -> None:
    """Replace what a float graph of pictures does to each channel first; the same but for rounding.

    Nothing is done where it begins with anything else.
    """
    shape = [int(side) for side in graph.tensors[graph.input].shape]
    run = list(_scaling(graph, shape[-1])) if len(shape) == _PICTURE else []
    if not run:
        return
    scale, offset = np.ones(shape[-1]), np.zeros(shape[-1])
    for operator, numbers in run:
        code = graph.code(operator)
        if code == _OP.MUL:
            scale, offset = scale * numbers, offset * numbers
        else:
            offset = offset + (numbers if code == _OP.ADD else -numbers)
    weights = np.diag(scale)[:, None, None, :].astype(np.float32)
    last = run[-1][0]
    last.inputs = [
        graph.input,
        graph.add_constant(weights),
        graph.add_constant(offset.astype(np.float32)),
    ]
    graph.turn_into(last, _OP.CONV_2D, pointwise())
    graph.drop_dead_operators()


def pointwise() -> Any:
    """Options of a 1x1 convolution."""
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    options.padding = schema.Padding.VALID
    return options


def _scaling(graph: TfliteGraph, channels: int) -> Iterator[tuple[Any, np.ndarray]]:
    """The operators that scale, in order, with the constant of each."""
    value = graph.input
    while (operator := graph.only_user(value)) is not None:
        if graph.code(operator) not in _SCALING or value != operator.inputs[0]:
            return
        numbers = graph.constant(int(operator.inputs[1]))
        if numbers is None or graph.is_clipped(operator):
            return
        if numbers.size != 1 and (numbers.size, numbers.shape[-1]) != (channels, channels):
            return  # of rows or columns
        yield operator, numbers.astype(np.float64).ravel()
        value = int(operator.outputs[0])
