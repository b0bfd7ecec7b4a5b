"""Small, exact edits of a TFLite flatbuffer, as a graph of operators and tensors.

Source of the format: TensorFlow's `schema.fbs`, as generated into ai-edge-litert.
"""

from __future__ import annotations

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
class InputAffine:
    """What a float graph does first with a pixel: `value = pixel * scale + offset`."""

    scale: float
    offset: float

    @property
    def zero_point(self) -> float:
        """The pixel level whose value is 0; a whole number when quantisation can be exact."""
        return -self.offset / self.scale


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
    """One-subgraph TFLite model that can be edited and written again."""

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
                names[self._code(o)],
                tuple(int(i) for i in o.inputs),
                tuple(int(i) for i in o.outputs),
            )
            for o in self._graph.operators
        ]

    def custom_operators(self) -> list[str]:
        """Names of the custom operators that it uses, each once, in order."""
        codes = [self._model.operatorCodes[o.opcodeIndex] for o in self._graph.operators]
        named = [bytes(c.customCode or b"").decode("utf-8", "replace") for c in codes]
        return list(dict.fromkeys(filter(None, named)))

    def operator_names(self) -> list[str]:
        """The operators in order, such as `CONV_2D`."""
        return [node.code for node in self.nodes()]

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
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
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

    def fold_reshapes(self) -> None:
        """Replace shapes that are computed from the batch size by constants such as (-1, 4608).

        Keras' Flatten computes its target shape at run time (SHAPE, STRIDED_SLICE, PACK); the
        result is then a dynamic tensor, which neither XNNPACK nor a microcontroller takes.
        """
        for operator in self._graph.operators:
            if self._code(operator) != _OP.RESHAPE:
                continue
            signature = self._graph.tensors[operator.outputs[0]].shapeSignature
            if signature is not None and list(signature).count(-1) == 1:
                shape = self.add_constant(np.asarray(signature, np.int32))
                operator.inputs = [operator.inputs[0], shape]
                # The same shape lives in the operator's options; the two must agree.
                operator.builtinOptions = None
                operator.builtinOptionsType = schema.BuiltinOptions.NONE
        self._drop_dead_operators()

    def cut_input_affine(self) -> InputAffine:
        """Remove the cast and the scaling of pixels; their float result becomes the input.

        Raises:
            ConversionError: when the graph does not begin with a cast of uint8 pixels.
        """
        graph = self._graph
        value, scale, offset, cut = graph.inputs[0], 1.0, 0.0, []
        while (operator := self._only_user(value)) is not None:
            code = self._code(operator)
            if code == _OP.CAST:
                pass
            elif code in (_OP.MUL, _OP.ADD, _OP.SUB) and value == operator.inputs[0]:
                constant = self._scalar(operator.inputs[1])
                if constant is None or self.is_clipped(operator):
                    break
                if code == _OP.MUL:
                    scale, offset = scale * constant, offset * constant
                else:
                    offset += constant if code == _OP.ADD else -constant
            else:
                break
            cut.append(operator)
            value = operator.outputs[0]
        if not cut or graph.tensors[value].type != schema.TensorType.FLOAT32 or scale <= 0:
            raise ConversionError("The TFLite graph does not begin with scaling of uint8 pixels.")
        graph.operators = [o for o in graph.operators if not any(o is c for c in cut)]
        self._set_input(value)
        return InputAffine(scale, offset)

    def is_clipped(self, operator: Any) -> bool:
        """Whether an activation is fused into an operator."""
        none = schema.ActivationFunctionType.NONE
        return getattr(operator.builtinOptions, "fusedActivationFunction", none) != none

    def shift_input(self, shift: float) -> bool:
        """Let every input be smaller by `shift`, with the same results.

        The first layer's bias takes it up: exactly, but where its padding reaches, which stays 0.

        Returns:
            False when the first layer has no weights, and nothing was changed.
        """
        node = next((n for n in self.nodes() if self.input in n.inputs), None)
        axes = {"CONV_2D": (1, 2, 3), "DEPTHWISE_CONV_2D": (0, 1, 2), "FULLY_CONNECTED": (1,)}
        if self._only_user(self.input) is None or node is None or node.code not in axes:
            return False
        weights = self.constant(node.inputs[1])
        bias = self.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if weights is None or bias is None:
            return False
        moved = bias + shift * weights.sum(axis=axes[node.code], dtype=np.float64)
        self.set_constant(node.inputs[2], moved.astype(np.float32))
        return True

    def prepend_uint8_input(self, name: str, *, scale: float, zero_point: int) -> None:
        """Let a graph take uint8 pixels of that step and zero: one operator at its front.

        QUANTIZE before an int8 graph moves the zero point by 128, before an int16 one it widens,
        and DEQUANTIZE before a float one gives the levels' values: all 256 stay apart in each.
        """
        graph = self._graph
        old = graph.inputs[0]
        inner = graph.tensors[old]
        outer = schema.TensorT()
        outer.name = name.encode()
        outer.shape, outer.shapeSignature = inner.shape, inner.shapeSignature
        outer.type = schema.TensorType.UINT8
        outer.quantization = schema.QuantizationParametersT()
        outer.quantization.scale, outer.quantization.zeroPoint = [scale], [zero_point]
        graph.tensors.append(outer)
        operator = schema.OperatorT()
        to_float = inner.type == schema.TensorType.FLOAT32
        operator.opcodeIndex = self._operator_code(_OP.DEQUANTIZE if to_float else _OP.QUANTIZE)
        operator.inputs, operator.outputs = [len(graph.tensors) - 1], [old]
        graph.operators.insert(0, operator)
        self._set_input(len(graph.tensors) - 1)

    def append_uint8_output(self) -> None:
        """Let an int8 graph answer uint8: one QUANTIZE operator that moves the zero point by 128.

        The step and so every one of the 256 levels stay what they are. MediaPipe's tasks refuse a
        model with an int8 output.

        Raises:
            ConversionError: when the output is not int8.
        """
        graph, old = self._graph, self._graph.outputs[0]
        if self.dtype(old) != "INT8":
            raise ConversionError(
                f"The TFLite graph's output is {self.dtype(old)}; only INT8 becomes UINT8."
            )
        inner = graph.tensors[old]
        outer = schema.TensorT()
        outer.name, inner.name = inner.name, inner.name + b"_int8"
        outer.shape, outer.shapeSignature = inner.shape, inner.shapeSignature
        outer.type = schema.TensorType.UINT8
        outer.quantization = schema.QuantizationParametersT()
        outer.quantization.scale = list(inner.quantization.scale)
        outer.quantization.zeroPoint = [zero + 128 for zero in inner.quantization.zeroPoint]
        graph.tensors.append(outer)
        new = len(graph.tensors) - 1
        operator = schema.OperatorT()
        operator.opcodeIndex = self._operator_code(_OP.QUANTIZE)
        operator.inputs, operator.outputs = [old], [new]
        graph.operators.append(operator)
        self._set_output(new)

    def end_at(self, tensor: int) -> None:
        """Let an inner tensor be the output, without the operators behind it."""
        self._set_output(tensor)
        self._drop_dead_operators()

    def _set_output(self, tensor: int) -> None:
        old = self._graph.outputs[0]
        self._graph.outputs = [tensor]
        for signature in self._model.signatureDefs or []:
            for entry in signature.outputs:
                if entry.tensorIndex == old:
                    entry.tensorIndex = tensor

    def _set_input(self, tensor: int) -> None:
        old = self._graph.inputs[0]
        self._graph.inputs = [tensor]
        for signature in self._model.signatureDefs or []:
            for entry in signature.inputs:
                if entry.tensorIndex == old:
                    entry.tensorIndex = tensor
        self._drop_unused_tensors()

    def _code(self, operator: Any) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Older files have the small codes in the deprecated field only.
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def _operator_code(self, builtin: int, version: int | None = None) -> int:
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

    def _only_user(self, tensor: int) -> Any | None:
        users = [o for o in self._graph.operators if tensor in list(o.inputs)]
        return users[0] if len(users) == 1 else None

    def _scalar(self, tensor: int) -> float | None:
        """The one number a constant float tensor holds, also when repeated; else None."""
        data = self._model.buffers[self._graph.tensors[tensor].buffer].data
        if data is None or self._graph.tensors[tensor].type != schema.TensorType.FLOAT32:
            return None
        values = np.unique(np.frombuffer(bytes(data), np.float32))
        return float(values[0]) if len(values) == 1 else None

    def add_constant(self, values: np.ndarray) -> int:
        """Index of a new tensor that holds these values, of a dtype that TFLite has."""
        tensor = schema.TensorT()
        number, taken = len(self._graph.tensors), {t.name for t in self._graph.tensors}
        while (name := f"constant_{number}".encode()) in taken:
            number += 1  # tensors that were dropped before leave holes
        tensor.name = name
        tensor.shape = list(values.shape)
        tensor.type = next(
            getattr(schema.TensorType, name)
            for name, dtype in _NUMPY.items()
            if dtype == values.dtype
        )
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _drop_dead_buffers(self) -> None:
        """Quantisers leave the float weights in the file, beside those that took their place."""
        named = [*self._graph.tensors, *(self._model.metadata or [])]
        used = sorted({0, *(entry.buffer for entry in named)})  # buffer 0 is "no data", always
        place = {old: new for new, old in enumerate(used)}
        self._model.buffers = [self._model.buffers[old] for old in used]
        for entry in named:
            entry.buffer = place[entry.buffer]

    def _drop_dead_operators(self) -> None:
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
