"""A TFLite flatbuffer as a graph of operators and tensors that can be read and edited.

Source of the format: TensorFlow's `schema.fbs`, as generated into ai-edge-litert.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from converters.errors import ConversionError

_OP = schema.BuiltinOperator
_FILE_IDENTIFIER = b"TFL3"
_NO_TENSOR = -1
# PLACEHOLDER_FOR_GREATER_OP_CODES: the old field has eight bits.
_MOST_DEPRECATED = 127
# `force_align: 16` of Buffer.data in the schema, which Python's object writer leaves out.
_BUFFER_ALIGNMENT = 16
_TYPE_NAMES = {code: name for name, code in vars(schema.TensorType).items() if name[0] != "_"}
_NUMPY = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
}


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        code: such as `CONV_2D`.
        inputs, outputs: indices of tensors; -1 for an input that is left out.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        if elemSize * numElems >= _BUFFER_ALIGNMENT:
            alignment = _BUFFER_ALIGNMENT
        return super().StartVector(elemSize, numElems, alignment)


class TfliteGraph:
    """One-subgraph TFLite model that can be edited and written again.

    Edits work on the schema's own objects: what is in `operators` and `tensors`.
    """

    def __init__(self, model: bytes) -> None:
        """Raises ConversionError when the model has control flow (several subgraphs)."""
        self._model: Any = flatbuffer_utils.read_model_from_bytearray(model)
        for buffer in self._model.buffers:
            # Quantisers put big buffers behind the flatbuffer, where older runtimes do not look.
            if buffer.data is not None:
                buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
        if len(self._model.subgraphs) != 1:
            raise ConversionError(
                "The TFLite graph has control flow; only plain graphs convert. A GRU or LSTM "
                "leaves such a loop: build that layer with unroll=True and save the model again."
            )
        self._graph: Any = self._model.subgraphs[0]

    def to_bytes(self) -> bytes:
        """The model as a file's content, without data that nothing refers to."""
        self._drop_dead_buffers()
        builder = _AlignedBuilder(1 << 20)
        builder.Finish(self._model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())

    def nodes(self) -> list[Node]:
        """The operators in order of execution."""
        names = {code: name for name, code in vars(_OP).items() if not name.startswith("_")}
        return [
            Node(
                names[self.code(o)],
                tuple(int(i) for i in o.inputs),
                tuple(int(i) for i in o.outputs),
            )
            for o in self._graph.operators
        ]

    @property
    def operators(self) -> list[Any]:
        """schema.OperatorT of each, in order of execution; the list is the graph's own."""
        return self._graph.operators  # type: ignore[no-any-return]

    @operators.setter
    def operators(self, operators: list[Any]) -> None:
        self._graph.operators = operators

    @property
    def tensors(self) -> list[Any]:
        """schema.TensorT of each, by its index; the list is the graph's own."""
        return self._graph.tensors  # type: ignore[no-any-return]

    def custom_operators(self) -> list[str]:
        """Names of the custom operators that it uses, each once, in order."""
        codes = [self._model.operatorCodes[o.opcodeIndex] for o in self._graph.operators]
        named = [bytes(c.customCode or b"").decode("utf-8", "replace") for c in codes]
        return list(dict.fromkeys(filter(None, named)))

    def operator_names(self) -> list[str]:
        """The operators in order, such as `CONV_2D`."""
        return [node.code for node in self.nodes()]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Indices of all input tensors, in order."""
        return tuple(int(tensor) for tensor in self._graph.inputs)

    @property
    def input(self) -> int:
        """Index of the input tensor."""
        return int(self._graph.inputs[0])

    @property
    def output(self) -> int:
        """Index of the output tensor."""
        return int(self._graph.outputs[0])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of all output tensors, in order."""
        return tuple(int(tensor) for tensor in self._graph.outputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all outputs, in order."""
        return tuple(self.name(int(tensor)) for tensor in self._graph.outputs)

    def signature_names(self) -> dict[int, str]:
        """What the file's first signature calls its outputs, by their tensors."""
        signatures = self._model.signatureDefs or []
        found = signatures[0].outputs if signatures else []
        return {int(e.tensorIndex): e.name.decode("utf-8", "replace") for e in found}

    def forget_metadata(self) -> None:
        """Without what its readers were told: metadata and signatures."""
        self._model.metadata = []
        self._model.signatureDefs = []

    def set_metadata(self, name: bytes, content: bytes) -> None:
        """Keep something in the file for its readers, in the place of what had that name."""
        buffer = _buffer(content)
        for entry in self._model.metadata or []:
            if entry.name == name:
                self._model.buffers[entry.buffer] = buffer
                return
        self._model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(self._model.buffers) - 1
        self._model.metadata = [*(self._model.metadata or []), entry]

    def set_outputs(self, tensors: Sequence[int]) -> None:
        """Let these tensors be the outputs; for a graph without signatures."""
        self._graph.outputs = list(tensors)

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return str(self._graph.tensors[tensor].name.decode())

    def dtype(self, tensor: int) -> str:
        """A tensor's type, such as `INT8`."""
        return _TYPE_NAMES[self._graph.tensors[tensor].type]

    def metadata(self, name: bytes) -> bytes | None:
        """What the file keeps under that name for its readers; `None` when it keeps nothing."""
        for entry in self._model.metadata or []:
            data = self._model.buffers[entry.buffer].data if entry.name == name else None
            if data is not None:
                return bytes(data)
        return None

    def constant(self, tensor: int) -> np.ndarray | None:
        """The numbers that a constant tensor holds, as stored; `None` when it is computed.

        Of an input that is left out, `None` as well.
        """
        if tensor == _NO_TENSOR:
            return None
        dtype = _NUMPY.get(self.dtype(tensor))
        data = self._model.buffers[self._graph.tensors[tensor].buffer].data
        if data is None or dtype is None:
            return None
        return np.frombuffer(bytes(data), dtype).reshape(self._graph.tensors[tensor].shape)

    def scales(self, tensor: int) -> np.ndarray | None:
        """Real value of one step, shaped to multiply the tensor; `None` when not quantised."""
        if tensor == _NO_TENSOR:
            return None
        quantisation = self._graph.tensors[tensor].quantization
        if quantisation is None or quantisation.scale is None or not len(quantisation.scale):
            return None
        scales = np.asarray(quantisation.scale, np.float64)
        shape = [1] * len(self._graph.tensors[tensor].shape)
        if len(scales) > 1:
            shape[quantisation.quantizedDimension] = len(scales)
        return scales.reshape(shape)

    def dequantised(self, tensor: int, values: np.ndarray) -> np.ndarray:
        """Values of a tensor as stored, as the real numbers that they stand for."""
        scales = self.scales(tensor)
        if scales is None:
            return values
        zero = np.asarray(self._graph.tensors[tensor].quantization.zeroPoint, np.float64)
        shape = scales.shape if zero.size > 1 else ()
        return np.asarray((values.astype(np.float64) - zero.reshape(shape or -1)) * scales)

    def set_constant(self, tensor: int, values: np.ndarray) -> None:
        """Give a constant tensor other numbers of the same type and shape, for itself alone."""
        self._model.buffers.append(_buffer(np.ascontiguousarray(values).tobytes()))
        self._graph.tensors[tensor].buffer = len(self._model.buffers) - 1

    def own_input(self, node: Node, position: int) -> int:
        """The tensor that a node reads there; a copy of it where other nodes read it as well."""
        tensor, operators = node.inputs[position], self._graph.operators
        if tensor == _NO_TENSOR or sum(tensor in o.inputs for o in operators) < 2:
            return tensor
        reader = next(o for o in operators if o.outputs[0] == node.outputs[0])
        self._graph.tensors.append(deepcopy(self._graph.tensors[tensor]))
        inputs = list(reader.inputs)
        inputs[position] = len(self._graph.tensors) - 1
        reader.inputs = inputs
        return inputs[position]

    def tensor_dtypes(self) -> dict[str, str]:
        """Every tensor's type by its name, such as `INT8`."""
        return {t.name.decode(): _TYPE_NAMES[t.type] for t in self._graph.tensors}

    def set_scales(self, tensor: int, scales: np.ndarray) -> None:
        """Give a quantised tensor other steps, as many as it has."""
        quantisation = self._graph.tensors[tensor].quantization
        quantisation.scale = np.asarray(scales, np.float32)

    def rename_io(self, input_name: str, *output_names: str) -> None:
        """Give the input and output tensors, and the signature's arguments, plain names."""
        graph = self._graph
        graph.tensors[graph.inputs[0]].name = input_name.encode()
        names = dict(zip(map(int, graph.outputs), output_names, strict=True))
        for tensor, name in names.items():
            graph.tensors[tensor].name = name.encode()
        for signature in self._model.signatureDefs or []:
            signature.inputs[0].name = input_name.encode()
            for entry in signature.outputs:
                if entry.tensorIndex in names:
                    entry.name = names[entry.tensorIndex].encode()

    def set_output(self, tensor: int) -> None:
        """Let another tensor be the output, by the name that the signature has for it."""
        old = self._graph.outputs[0]
        self._graph.outputs = [tensor]
        for signature in self._model.signatureDefs or []:
            for entry in signature.outputs:
                if entry.tensorIndex == old:
                    entry.tensorIndex = tensor

    def set_input(self, tensor: int) -> None:
        """Let another tensor be the input, without the tensors that nobody reads then."""
        old = self._graph.inputs[0]
        self._graph.inputs = [tensor]
        for signature in self._model.signatureDefs or []:
            for entry in signature.inputs:
                if entry.tensorIndex == old:
                    entry.tensorIndex = tensor
        self._drop_unused_tensors()

    def code(self, operator: Any) -> int:
        """The operator's number in schema.BuiltinOperator."""
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Older files have the small codes in the deprecated field only.
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def operator_code(self, builtin: int, version: int | None = None) -> int:
        """Index of the operator code, of that version or of any; added where there is none."""
        for index, known in enumerate(self._model.operatorCodes):
            same = max(known.builtinCode, known.deprecatedBuiltinCode) == builtin
            if same and version in (None, known.version):
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, _MOST_DEPRECATED)
        code.version = version or 2  # of QUANTIZE and DEQUANTIZE: all integer types
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def new_operator(
        self, code: int, inputs: list[int], outputs: list[int], options: Any = None
    ) -> Any:
        """An operator that stands nowhere yet. Args: options: such as schema.MulOptionsT()."""
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = inputs, outputs
        self.turn_into(operator, code, options)
        return operator

    def turn_into(self, operator: Any, code: int, options: Any = None) -> None:
        """Let an operator compute something else."""
        operator.opcodeIndex = self.operator_code(code)
        kind = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)

    def users(self, tensor: int) -> list[Any]:
        """The operators that read a tensor."""
        return [o for o in self.operators if tensor in list(o.inputs)]

    def only_user(self, tensor: int) -> Any | None:
        """The operator that alone reads a tensor; `None` where there are none or several."""
        users = self.users(tensor)
        return users[0] if len(users) == 1 else None

    def is_clipped(self, operator: Any) -> bool:
        """Whether an activation is fused into an operator."""
        none = schema.ActivationFunctionType.NONE
        return bool(getattr(operator.builtinOptions, "fusedActivationFunction", none) != none)

    def add_tensor(self, name: str, shape: Sequence[int], dtype: int, steps: Any = None) -> int:
        """Index of a new tensor that some operator will compute.

        Args:
            name: what it is called, with a number that makes it the only one of that name.
            shape: for a batch of one; the batch is free.
            dtype: of schema.TensorType.
            steps: schema.QuantizationParametersT of a quantised one; see `steps_of`.
        """
        tensor = schema.TensorT()
        number, taken = len(self.tensors), {t.name for t in self.tensors}
        while (unique := f"{name}_{number}".encode()) in taken:
            number += 1  # tensors that were dropped before leave holes
        tensor.name, tensor.type, tensor.buffer = unique, dtype, 0
        tensor.shape = [int(side) for side in shape]
        tensor.shapeSignature = [-1, *tensor.shape[1:]] if tensor.shape else None
        tensor.quantization = deepcopy(steps)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add_constant(self, values: np.ndarray, name: str = "constant", steps: Any = None) -> int:
        """Index of a new tensor that holds these values, of a dtype that TFLite has."""
        values = np.asarray(values)
        dtype = next(name for name, dtype in _NUMPY.items() if dtype == values.dtype)
        index = self.add_tensor(name, values.shape, getattr(schema.TensorType, dtype), steps)
        self.tensors[index].shapeSignature = None
        self.set_constant(index, values)
        return index

    def _drop_dead_buffers(self) -> None:
        """Quantisers leave the float weights in the file, beside those that took their place."""
        named = [*self._graph.tensors, *(self._model.metadata or [])]
        used = sorted({0, *(entry.buffer for entry in named)})  # buffer 0 is "no data", always
        place = {old: new for new, old in enumerate(used)}
        self._model.buffers = [self._model.buffers[old] for old in used]
        for entry in named:
            entry.buffer = place[entry.buffer]

    def drop_dead_operators(self) -> None:
        """Without what no output depends on, and without the tensors that nobody reads then."""
        live, kept = set(self._graph.outputs), []
        for operator in reversed(self._graph.operators):
            if live.intersection(operator.outputs):
                kept.append(operator)
                live.update(operator.inputs)
        self._graph.operators = kept[::-1]
        self._drop_unused_tensors()

    def _drop_unused_tensors(self) -> None:
        """Renumber without the tensors that nobody makes or reads: they trip calibration."""
        graph = self._graph
        used = {*graph.inputs, *graph.outputs}
        for operator in graph.operators:
            used.update(operator.inputs, operator.outputs)
        used.discard(_NO_TENSOR)
        new = {old: index for index, old in enumerate(sorted(used))} | {_NO_TENSOR: _NO_TENSOR}
        graph.tensors = [graph.tensors[old] for old in sorted(used)]
        graph.inputs = [new[i] for i in graph.inputs]
        graph.outputs = [new[i] for i in graph.outputs]
        for operator in graph.operators:
            operator.inputs = [new[i] for i in operator.inputs]
            operator.outputs = [new[i] for i in operator.outputs]
        for signature in self._model.signatureDefs or []:
            for entry in [*signature.inputs, *signature.outputs]:
                entry.tensorIndex = new[entry.tensorIndex]


def steps_of(scale: float, zero_point: int = 0) -> Any:
    """schema.QuantizationParametersT: what a quantised tensor's integers stand for."""
    steps = schema.QuantizationParametersT()
    steps.scale = np.array([scale], np.float32)
    steps.zeroPoint = np.array([zero_point], np.int64)
    return steps


def _buffer(content: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    return buffer
