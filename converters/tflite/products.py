"""Squares and opposites as products, of which every runtime has an integer kernel."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.graph import TfliteGraph

_OP = schema.BuiltinOperator


def as_products(graph: TfliteGraph) -> None:
    """Replace SQUARE by `x * x` and NEG by `x * -1`: the same numbers to the last bit."""
    for operator in graph.operators:
        code = graph.code(operator)
        if code not in (_OP.SQUARE, _OP.NEG) or graph.dtype(int(operator.inputs[0])) != "FLOAT32":
            continue
        x = int(operator.inputs[0])
        other = x if code == _OP.SQUARE else graph.add_constant(np.float32(-1).reshape(1))
        operator.inputs = [x, other]
        graph.turn_into(operator, _OP.MUL, schema.MulOptionsT())
