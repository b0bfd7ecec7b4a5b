"""A model file cut off behind each of its operators, so that every inner tensor can be read.

The engine sees an ordinary file each time and fuses, packs and delegates what comes before the cut
as it does in the whole: asking for all inner tensors at once would change the kernels under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx.utils import Extractor

from converters.tflite.ends import end_at
from converters.tflite.graph import TfliteGraph


@dataclass(frozen=True)
class Cut:
    """The file up to one operator.

    Attributes:
        operator: such as `CONV_2D`.
        tensor: what it makes, by name.
    """

    operator: str
    tensor: str
    file: bytes


def tflite_cuts(model: bytes) -> Iterator[Cut]:
    """One for each operator that makes a tensor out of the picture, in order."""
    whole = TfliteGraph(model)
    computed = {whole.input}
    for node in whole.nodes():
        if computed.isdisjoint(node.inputs):
            continue
        computed.update(node.outputs)
        graph = TfliteGraph(model)
        end_at(graph, node.outputs[0])
        yield Cut(node.code, whole.name(node.outputs[0]), graph.to_bytes())


def onnx_cuts(model: bytes) -> Iterator[Cut]:
    """The same of an ONNX file."""
    whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    [source] = whole.graph.input
    computed = {source.name}
    for node in whole.graph.node:
        if computed.isdisjoint(node.input):
            continue
        computed.update(node.output)
        part = Extractor(whole).extract_model([source.name], [node.output[0]])
        yield Cut(node.op_type, node.output[0], part.SerializeToString())
