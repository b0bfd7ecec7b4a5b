"""The range that each tensor of an ONNX graph takes over real pictures, for the int8 quantiser.

onnxruntime's own calibrators are not used: its histogram one keeps every activation of every
picture until the end (gigabytes for 200 pictures at 224x224), and its entropy method, with
as many bins as levels, has one threshold to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from converters.errors import ConversionError, brief
from converters.histogram import Range
from converters.onnx.graph import OnnxGraph
from converters.quantisation_plan import CalibrationMethod
from converters.sample import Sample

WEIGHTED = ("Conv", "Gemm")


def observe(
    graph: OnnxGraph,
    pixels: np.ndarray,
    *,
    method: CalibrationMethod = "minmax",
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
    return chosen(graph, sample(graph, pixels, advance=advance), method, percentile)


def sample(
    graph: OnnxGraph, pixels: np.ndarray, *, advance: Callable[[int], None] = lambda n: None
) -> Sample:
    """Means of what weighted layers read, and a histogram of every tensor, in one pass.

    Raises:
        ConversionError: as `observe` does.
    """
    if not len(pixels):
        raise ConversionError("There is no calibration picture: int8 needs some to see ranges.")
    names = _float_tensors(graph)
    read = {node.input[0] for node in graph.nodes if node.op_type in WEIGHTED}
    found = Sample(read, channel_axis=1)
    for arrays in activations(graph, names, pixels):
        found.add(dict(zip(names, arrays, strict=True)))
        advance(1)
    return found


def chosen(
    graph: OnnxGraph, seen: Sample, method: CalibrationMethod, percentile: float
) -> dict[str, Range]:
    """The range of each tensor by what a sample shows of it; see `observe`."""
    clipped = _clipped(graph)
    ranges = {
        name: histogram.range(method, percentile)
        for name, histogram in seen.histograms.items()
        if name not in clipped
    }
    return _with_clipped(graph, ranges)


def activations(
    graph: OnnxGraph, names: list[str], pixels: np.ndarray
) -> Iterator[list[np.ndarray]]:
    """The named tensors for one picture after the other, each with a first dimension of 1.

    Raises:
        ConversionError: when onnxruntime cannot run the graph.
    """
    session = _session(graph, names)
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


def _with_clipped(graph: OnnxGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """What is clipped anyway has the range of what comes out of that."""
    found = dict(ranges)
    followers = _clipped(graph)
    for name, follower in followers.items():
        while follower in followers:
            follower = followers[follower]
        found[name] = found[follower]
    return found


def _session(graph: OnnxGraph, names: list[str]) -> Any:
    import onnx
    import onnxruntime
    from onnx import helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.to_model())
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # See `edge_runtime.engines.onnx`: quantised graphs are looked into as well.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Between two pictures it is others' turn: histograms, and the proof of the file before.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
