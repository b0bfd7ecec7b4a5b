"""What an ONNX file takes and answers, read from the file without any ONNX package.

OpenCV runs ONNX files but does not say what they take. Of the file's Protocol Buffers
(https://protobuf.dev/programming-guides/encoding/) only the few fields of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that say so are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_runtime.engines.base import TensorSpec
from edge_runtime.errors import EngineError

# TensorProto.DataType of what edgeproof's files take and answer.
_DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_INITIALIZER_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIM = 1
_DIM_VALUE = 1


def read_specs(model: Path) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    """The one input and the outputs of an ONNX file.

    Raises:
        EngineError: when it is no ONNX file, or has several inputs, or some of no fixed shape.
    """
    try:
        graph = _message(memoryview(model.read_bytes()), _MODEL_GRAPH)
        constants = {_text(c, _INITIALIZER_NAME) for c in _messages(graph, _GRAPH_INITIALIZER)}
        values = _messages(graph, _GRAPH_INPUT)
        inputs = [v for v in values if _text(v, _VALUE_NAME) not in constants]
        outputs = _messages(graph, _GRAPH_OUTPUT)
        if len(inputs) != 1 or not outputs:
            raise EngineError(
                f"{model}: has {len(inputs)} inputs and {len(outputs)} outputs; one input and at "
                "least one output are run."
            )
        return _spec(inputs[0], model), tuple(_spec(output, model) for output in outputs)
    except (OSError, ValueError, IndexError) as exc:
        raise EngineError(f"{model}: is not an ONNX file: {exc}.") from exc


def count_operators(model: Path) -> int:
    """How many operators an ONNX file has in its main graph. Raises EngineError."""
    try:
        return len(_messages(_message(memoryview(model.read_bytes()), _MODEL_GRAPH), _GRAPH_NODE))
    except (OSError, ValueError, IndexError) as exc:
        raise EngineError(f"{model}: is not an ONNX file: {exc}.") from exc


def read_metadata(model: Path) -> dict[str, str]:
    """What an ONNX file says in its `metadata_props`, as text by key. Raises EngineError."""
    try:
        entries = _messages(memoryview(model.read_bytes()), _MODEL_METADATA)
        return {_text(entry, _ENTRY_KEY): _text(entry, _ENTRY_VALUE) for entry in entries}
    except (OSError, ValueError, IndexError) as exc:
        raise EngineError(f"{model}: is not an ONNX file: {exc}.") from exc


def _spec(value: memoryview, model: Path) -> TensorSpec:
    name = _text(value, _VALUE_NAME)
    tensor = _message(_message(value, _VALUE_TYPE), _TYPE_TENSOR)
    element = next((n for f, n in _fields(tensor) if f == _TENSOR_ELEMENT), 0)
    dims = _messages(_message(tensor, _TENSOR_SHAPE), _SHAPE_DIM)
    # The first is the batch, which may be a name.
    shape = tuple(_dim(dim) for dim in dims[1:])
    if not isinstance(element, int) or element not in _DTYPES or not all(shape):
        raise EngineError(f"{model}: tensor {name!r} has type {element}, shape {shape}; not run.")
    return TensorSpec(name, shape, np.dtype(_DTYPES[element]))


def _dim(dim: memoryview) -> int:
    """Its length; 0 where it has none or only a name."""
    value = next((n for f, n in _fields(dim) if f == _DIM_VALUE), 0)
    return value if isinstance(value, int) else 0


def _messages(message: memoryview, number: int) -> list[memoryview]:
    return [value for field, value in _fields(message) if field == number and _is_bytes(value)]  # type: ignore[misc]


def _message(message: memoryview, number: int) -> memoryview:
    found = _messages(message, number)
    if not found:
        raise ValueError(f"field {number} is missing")
    return found[-1]


def _text(message: memoryview, number: int) -> str:
    return bytes(_message(message, number)).decode("utf-8")


def _is_bytes(value: memoryview | int) -> bool:
    return isinstance(value, memoryview)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, value) in the order of the file; numbers of fixed width are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it is cut off")
            yield number, message[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} is unknown")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than any")
