"""Room for a bias beside weights that are all but zero.

A bias is stored in steps of the input's step times the weights'. Where a channel's weights are zero
(a dead channel, a model that always answers the same), their step is chosen next to nothing, and a
bias of that many steps does not fit into 32 bits: cut off, the channel answers about zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.tflite.graph import TfliteGraph

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
# Half of what 32 bits hold: sums of products are added to it.
_MOST_STEPS = 2.0**30


def give_biases_room(float_tflite: bytes, quantised: bytes) -> bytes:
    """The quantised file with wider steps for weights whose bias does not fit beside them."""
    reference, graph = TfliteGraph(float_tflite), TfliteGraph(quantised)
    originals = {reference.name(n.outputs[0]): n for n in reference.nodes() if n.code in _WEIGHTED}
    changed = False
    for node in graph.nodes():
        original = originals.get(graph.name(node.outputs[0]))
        if node.code in _WEIGHTED and original is not None and len(node.inputs) == 3:
            bias = reference.constant(original.inputs[2])
            if bias is not None:
                changed |= _widen(graph, node.inputs, bias.astype(np.float64))
    return graph.to_bytes() if changed else quantised


def _widen(graph: TfliteGraph, inputs: tuple[int, ...], bias: np.ndarray) -> bool:
    value, weight, stored = inputs
    input_step, weight_steps = graph.scales(value), graph.scales(weight)
    levels, steps = graph.constant(weight), graph.scales(stored)
    if input_step is None or weight_steps is None or steps is None or levels is None:
        return False
    least = np.abs(bias) / _MOST_STEPS
    if weight_steps.size == 1:
        least = np.full(1, least.max(initial=0.0))
    if (steps.ravel() >= least).all():
        return False
    wider = np.maximum(steps.ravel(), least)
    wider_weights = (wider / input_step.ravel()).reshape(weight_steps.shape)
    graph.set_constant(
        weight, np.round(levels * (weight_steps / wider_weights)).astype(levels.dtype)
    )
    graph.set_scales(weight, wider_weights.ravel())
    graph.set_scales(stored, wider)
    graph.set_constant(stored, np.round(bias / wider).astype(_dtype_of(graph, stored)))
    return True


def _dtype_of(graph: TfliteGraph, tensor: int) -> Any:
    values = graph.constant(tensor)
    assert values is not None  # it has steps, so it is stored
    return values.dtype
