"""Looking inside an ONNX file while it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.float_graphs import INPUT_NAME
from converters.layer_names import Layer

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


class OnnxProbe:
    """Runs an ONNX file and gives the value of every tensor that a node makes.

    A quantised graph's tensor is given as its reader sees it: rounded to integers and back.
    """

    def __init__(self, model: bytes) -> None:
        import onnx
        import onnxruntime

        self._proto: Any = onnx.load_from_string(model)
        graph = self._proto.graph
        # A tensor that is quantised and unpacked again goes by the name it had before.
        origin = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
        self._names = {
            n.output[0]: origin.get(n.input[0], n.output[0])
            if n.op_type == "DequantizeLinear"
            else n.output[0]
            for n in graph.node
            if n.op_type != "QuantizeLinear"
        }
        outputs = {o.name for o in graph.output}
        watched = onnx.shape_inference.infer_shapes(self._proto)
        known = {v.name: v for v in watched.graph.value_info}
        for name in self._names:
            if name not in outputs and name in known:
                watched.graph.output.append(known[name])
        self._fetch = [o.name for o in watched.graph.output]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Fused nodes would not make the tensors that are asked for.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def layers(self) -> list[Layer]:
        """Every node that computes, in order."""
        return [
            Layer(key=n.name, output=n.output[0], operator=n.op_type, inputs=tuple(n.input))
            for n in self._proto.graph.node
            if n.op_type not in _QUANTISERS
        ]

    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Every float tensor for one picture, by name; unpacked tensors win over their origin."""
        values = dict(
            zip(self._fetch, self._session.run(self._fetch, {INPUT_NAME: picture}), strict=True)
        )
        named = {name: values[name] for name in self._fetch if self._names.get(name) == name}
        unpacked = {
            self._names[name]: values[name]
            for name in self._fetch
            if self._names.get(name, name) != name
        }
        return {k: v for k, v in (named | unpacked).items() if v.dtype.kind == "f"}
