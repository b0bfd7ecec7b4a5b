"""Large weights kept out of tf2onnx's way.

It copies every weight dozens of times, as each of its optimisers works on a copy of the graph: 15
seconds for the 75 megabytes of article_cnn, of which all but one go here, and 8 gigabytes of memory
for ResNet50. Its own `large_model` option does not run with numpy 2.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

# Numbers: a megabyte of them.
_LARGE = 1 << 18
# Their weights are the second input; tf2onnx turns it about by nodes that `onnx.tidy` folds.
_WITH_WEIGHTS = {schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.CONV_2D}


def without_large_weights(tflite: bytes) -> tuple[bytes, dict[str, np.ndarray]]:
    """Turn the large weights of dense layers and convolutions into further inputs of the graph.

    Returns:
        The TFLite file without them, and what they are by tensor name: float32, (units, inputs)
        or (filters, height, width, channels).
    """
    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(tflite))
    graph = model.subgraphs[0]
    readers = Counter(tensor.buffer for tensor in graph.tensors)
    apart: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode not in _WITH_WEIGHTS:
            continue
        index = operator.inputs[1]
        tensor = graph.tensors[index]
        buffer = model.buffers[tensor.buffer]
        if tensor.type != schema.TensorType.FLOAT32 or buffer.data is None:
            continue
        values = np.frombuffer(bytes(buffer.data), np.float32)
        if len(values) < _LARGE or readers[tensor.buffer] > 1:
            continue
        apart[tensor.name.decode()] = values.reshape(tensor.shape)
        buffer.data, tensor.buffer = None, 0
        graph.inputs = [*graph.inputs, index]
    if not apart:
        return tflite, {}
    model.signatureDefs = None  # they name the inputs that were
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), apart
