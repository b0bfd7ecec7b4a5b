"""The range that each tensor of an ONNX graph takes over real pictures, for the int8 quantiser.

onnxruntime's own calibrators are not used: its histogram one keeps every activation of every
picture until the end (gigabytes for 200 pictures at 224x224), and its entropy method, with
as many bins as levels, has one threshold to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from converters.errors import ConversionError, brief
from converters.histogram import Histogram, Range, require_finite
from converters.onnx_graph import OnnxGraph

Method = Literal["minmax", "percentile", "entropy", "mse"]


def observe(
    graph: OnnxGraph,
    pixels: np.ndarray,
    *,
    method: Method = "minmax",
    percentile: float = 99.99,
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, Range]:
    """Run the float graph over the pictures, one at a time, and keep each tensor's range.

    One at a time, because larger batches leave the processor's cache and take longer.

    Args:
        pixels: uint8, (samples, H, W, 3).
        method: `minmax` keeps all; `percentile` that share of the values; `entropy` what loses
            least information at 128 levels; `mse` what changes the values least at 256.
        advance: told of each picture when it has been seen.

    Returns:
        by tensor name. What feeds nothing but a Relu or Clip has the range of what comes out of
        it: the rest would be cut off anyway.

    Raises:
        ConversionError: when onnxruntime cannot run the graph, there is no picture, or a value is
            not finite.
    """
    if not len(pixels):
        raise ConversionError("There is no calibration picture: int8 needs some to see ranges.")
    followers = _clipped(graph)
    names = [name for name in _float_tensors(graph) if name not in followers]
    if method == "minmax":
        ranges = _extremes(graph, names, pixels, advance)
    else:
        seen = {name: Histogram() for name in names}
        for arrays in activations(graph, names, pixels):
            for name, values in zip(names, arrays, strict=True):
                seen[name].add(values, name)
            advance(1)
        choose = {
            "percentile": lambda h: h.percentile(percentile),
            "entropy": Histogram.entropy,
            "mse": Histogram.least_error,
        }
        ranges = {name: choose[method](histogram) for name, histogram in seen.items()}
    for name, follower in followers.items():
        while follower in followers:
            follower = followers[follower]
        ranges[name] = ranges[follower]
    return ranges


def activations(
    graph: OnnxGraph, names: list[str], pixels: np.ndarray
) -> Iterator[list[np.ndarray]]:
    """The named tensors for one picture after the other, each with a first dimension of 1.

    Raises:
        ConversionError: when onnxruntime cannot run the graph.
    """
    session = _session(graph, names, extremes=False)
    for picture in pixels:
        yield _run(session, graph, picture)


def _float_tensors(graph: OnnxGraph) -> list[str]:
    from onnx import TensorProto

    dtypes = graph.dtypes()
    made = [tensor for node in graph.nodes for tensor in node.output]
    return [tensor for tensor in made if dtypes.get(tensor) == TensorProto.FLOAT]


def _clipped(graph: OnnxGraph) -> dict[str, str]:
    """Tensors that only a Relu or Clip reads, each with what comes out of that."""
    found = {}
    for node in graph.nodes:
        user = graph.only_user(node.output[0])
        if user is not None and user.op_type in ("Clip", "Relu"):
            found[node.output[0]] = user.output[0]
    return found


def _extremes(
    graph: OnnxGraph, names: list[str], pixels: np.ndarray, advance: Callable[[int], None]
) -> dict[str, Range]:
    # Inside the runtime: handing every activation to Python takes half as long again.
    session = _session(graph, names, extremes=True)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for picture in pixels:
        found = np.array(_run(session, graph, picture)).reshape(len(names), 2)
        require_finite(found, names)
        low, high = np.minimum(low, found[:, 0]), np.maximum(high, found[:, 1])
        advance(1)
    return {name: Range(float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _session(graph: OnnxGraph, names: list[str], *, extremes: bool) -> Any:
    import onnx
    import onnxruntime
    from onnx import helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.to_model())
    del model.graph.output[:]
    for number, name in enumerate(names):
        for kind in ("ReduceMin", "ReduceMax") if extremes else ():
            outcome = f"{kind}_{number}"
            model.graph.node.append(helper.make_node(kind, [name], [outcome], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(outcome, 1, []))
        if not extremes:
            model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # onnxruntime raises its own, unrelated classes
        raise ConversionError(f"onnxruntime cannot load the float model: {brief(exc)}") from exc


def _run(session: Any, graph: OnnxGraph, picture: np.ndarray) -> list[np.ndarray]:
    try:
        return list(session.run(None, {graph.input.name: picture[np.newaxis]}))
    except Exception as exc:  # onnxruntime raises its own, unrelated classes
        raise ConversionError(f"onnxruntime cannot run the float model: {brief(exc)}") from exc
