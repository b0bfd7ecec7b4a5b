"""What float16 cannot hold: numbers beyond 65504 become infinity."""

from __future__ import annotations

import numpy as np

from converters.onnx.graph import OnnxGraph
from converters.sample import Sample

# Pictures that were not seen may give twice what those that were did.
_LARGEST = float(np.finfo(np.float16).max) / 2


def beyond_float16(graph: OnnxGraph, seen: Sample) -> frozenset[str]:
    """Names of the nodes that must stay in float32: they make, read or hold numbers too large.

    onnxruntime on x86-64 computes a float16 file in float32 and shows nothing of it; TensorRT and
    ARM cores with half-precision arithmetic answer NaN.

    Args:
        seen: what calibration pictures show of every tensor of the graph.
    """
    large = {name for name, histogram in seen.histograms.items() if histogram.largest > _LARGEST}
    large |= {
        name
        for name, values in graph.constants.items()
        if values.dtype == np.float32 and np.abs(values).max(initial=0.0) > _LARGEST
    }
    return frozenset(n.name for n in graph.nodes if large & {*n.input, *n.output})
