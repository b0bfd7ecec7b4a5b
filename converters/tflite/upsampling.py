"""Rows and columns that a graph repeats by hand, as the one operator that there is for it.

Keras' UpSampling2D repeats each axis by itself: an axis of one behind it (EXPAND_DIMS or RESHAPE),
TILE along that, and RESHAPE. The quantiser does not know TILE, but RESIZE_NEAREST_NEIGHBOR.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.graph import TfliteGraph

_OP = schema.BuiltinOperator
_ROWS, _COLUMNS = 1, 2


def repeats_as_resize(graph: TfliteGraph) -> None:
    """Replace the repeating of rows or columns by a resize."""
    made = {int(out): o for o in graph.operators for out in o.outputs}
    for tile in [o for o in graph.operators if graph.code(o) == _OP.TILE]:
        found, reshape = _repeated(graph, tile, made), _only_reshape(graph, tile)
        if found is None or reshape is None:
            continue
        source, after = found
        if _is_shaped(graph.tensors[reshape.outputs[0]], after):
            answer = int(reshape.outputs[0])
            graph.operators.remove(reshape)
        elif graph.constant(int(reshape.inputs[1])) is not None:
            answer = graph.add_tensor("resized", after, graph.tensors[source].type)
            reshape.inputs = [answer, *reshape.inputs[1:]]
        else:
            continue
        graph.tensors[answer].shape = after
        graph.tensors[answer].shapeSignature = [-1, *after[1:]]
        place = graph.operators.index(tile)
        graph.operators[place] = made[answer] = _resize(graph, source, answer, after)
    graph.drop_dead_operators()


def _repeated(graph: TfliteGraph, tile: Any, made: dict[int, Any]) -> tuple[int, list[int]] | None:
    """The picture whose rows or columns a TILE repeats, and the shape it gets; else `None`."""
    times, tensors = graph.constant(int(tile.inputs[1])), graph.tensors
    expand = made.get(int(tile.inputs[0]))
    if times is None or times.size != 5 or np.count_nonzero(times != 1) != 1 or expand is None:
        return None
    if graph.code(expand) not in (_OP.EXPAND_DIMS, _OP.RESHAPE):
        return None
    # The new axis stands behind the one that is repeated.
    behind = int(np.flatnonzero(times != 1)[0])
    shape = [int(n) for n in tensors[tile.inputs[0]].shape]
    if behind - 1 not in (_ROWS, _COLUMNS) or len(shape) != 5 or shape[behind] != 1:
        return None
    before, source = shape[:behind] + shape[behind + 1 :], int(expand.inputs[0])
    if before != [int(n) for n in tensors[source].shape]:
        return None
    after = list(before)
    after[behind - 1] *= int(times[behind])
    return source, after


def _only_reshape(graph: TfliteGraph, tile: Any) -> Any | None:
    """The RESHAPE that alone reads a TILE; a SHAPE beside it only computes what it becomes."""
    users = [o for o in graph.users(int(tile.outputs[0])) if graph.code(o) != _OP.SHAPE]
    return users[0] if len(users) == 1 and graph.code(users[0]) == _OP.RESHAPE else None


def _is_shaped(tensor: Any, shape: list[int]) -> bool:
    """Whether a tensor has that shape; what is computed from the batch is free in the file."""
    said = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return len(said) == 4 and all(n in (-1, m) for n, m in zip(said, shape, strict=True))


def _resize(graph: TfliteGraph, source: int, answer: int, shape: list[int]) -> Any:
    size = graph.add_constant(np.array(shape[1:3], np.int32))
    options = schema.ResizeNearestNeighborOptionsT()
    return graph.new_operator(_OP.RESIZE_NEAREST_NEIGHBOR, [source, size], [answer], options)
