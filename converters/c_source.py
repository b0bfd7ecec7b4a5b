"""The int8 TFLite file as C++ source for TensorFlow Lite Micro: `model.h`, `model.cc`, `main.cc`.

The array is the file, byte for byte. What else firmware must know is read from the flatbuffer, so
that the header cannot say one thing and the model another.
"""

from __future__ import annotations

import hashlib
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError, brief
from converters.layer_names import layer_name
from edge_runtime.preprocess import Preprocess

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATES = Path(__file__).parent / "templates" / "c"
OPERATORS = "operators.toml"

_IDENTIFIER = slice(4, 8)
_BYTES_PER_LINE = 16
_ARENA_ALIGNMENT = 16
# A multiplier and a shift, both int32, that TFLM keeps for each output channel of its own.
_BYTES_PER_CHANNEL = 8
_MAX_NAMESPACE = 48
_COMMENT_COLUMNS = 96
_FITS = {
    "stretch": "without keeping its aspect ratio",
    "crop": "by its middle of the same aspect ratio",
    "letterbox": "as a whole, padded with black",
}
_C_TYPES = {"UINT8": "std::uint8_t", "INT8": "std::int8_t"}
_ITEM_BYTES = {"UINT8": 1, "INT8": 1, "BOOL": 1, "INT16": 2, "INT32": 4, "INT64": 8}
_DTYPES = {code: name for name, code in vars(schema.TensorType).items() if name[0] != "_"}
_BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}


@dataclass(frozen=True)
class _Tensor:
    """One tensor; `channels` is 0 unless it is quantised per channel."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    channels: int
    constant: bool

    @property
    def arena_bytes(self) -> int:
        size = prod(self.shape) * _ITEM_BYTES[self.dtype]
        return -(-size // _ARENA_ALIGNMENT) * _ARENA_ALIGNMENT


@dataclass(frozen=True)
class _Operator:
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class _Graph:
    """What the flatbuffer holds: tensors, and operators in the order in which they run."""

    tensors: tuple[_Tensor, ...]
    operators: tuple[_Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def c_sources(
    tflite: bytes,
    *,
    name: str,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    provenance_line: str,
) -> dict[str, bytes]:
    """The source files for TensorFlow Lite Micro.

    Args:
        tflite: the int8 TFLite file: uint8 (1, height, width, 3) in, int8 or uint8 out.
        name: what the model is called; the C++ namespace is made of it.
        labels: one for each number of the output; two where the output is one number, which is then
            the probability of the second.
        preprocess: how a picture becomes the input.
        provenance_line: where the model comes from, for the files' first lines.

    Returns:
        UTF-8 content by file name: `model.h`, `model.cc`, and the example `main.cc`. C++11, without
        a warning of `-Wall -Wextra -Wpedantic`.

    Raises:
        ConversionError: when a tensor is float, an operator is none of TensorFlow Lite Micro's, the
            input or output is not as above, or a label cannot be a C string.
    """
    graph = _read(tflite)
    _require_integers(graph)
    methods = _resolver_methods(graph.operators, graph.tensors)
    source, answer = _input_and_output(graph, labels, preprocess)
    facts = {
        "namespace": namespace(name),
        "title": comment(f"{name}: {provenance_line}"),
        "name": string_literal(name),
        "labels": [string_literal(label) for label in labels],
        "preprocess": preprocess,
        "fit": _FITS[preprocess.fit],
        "input": source,
        "output": answer,
        "c_types": _C_TYPES,
        "units": answer.shape[-1],
        "length": len(tflite),
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "arena": _arena_lower_bound(graph),
        "operator_count": len(graph.operators),
        "per_channel_dense": _has_per_channel_dense(graph),
        "methods": methods,
    }
    return {
        "model.h": _render("model.h.j2", facts),
        "model.cc": _render("model.cc.j2", facts | {"bytes": _byte_list(tflite)}),
        "main.cc": _render("main.cc.j2", facts),
    }


def string_literal(text: str) -> str:
    r"""A C string literal, quotes included, whose bytes are the text's UTF-8.

    >>> print(string_literal('a"b\n'))
    "a\"b\012"

    Raises:
        ConversionError: when the text holds a zero, at which a C string ends, or half a surrogate
            pair, which no UTF-8 has.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b"\0"
    if 0 in data:
        raise ConversionError(
            f"{text!r} cannot be a C string: it holds a NUL or half a surrogate pair; rename it."
        )
    return '"' + "".join(_STRING_BYTES[byte] for byte in data) + '"'


def _string_byte(byte: int) -> str:
    char = chr(byte)
    # Octal, because it ends after three digits; `\xe4b` would go on. `?` begins trigraphs.
    if not 32 <= byte < 127 or char == "?":
        return f"\\{byte:03o}"
    return f"\\{char}" if char in '"\\' else char


_STRING_BYTES = tuple(_string_byte(byte) for byte in range(256))


def comment(text: str) -> str:
    """`//` lines that hold the text and nothing that could end the comment or turn it round."""
    shown = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)
    # Backslash at a line's end would draw the next line into the comment; so would `??/`.
    shown = shown.replace("\\", "<U+005C>").replace("??", "?<U+003F>")
    lines = textwrap.wrap(shown, _COMMENT_COLUMNS, break_on_hyphens=False)
    return "\n".join(f"// {line}" for line in lines)


def namespace(name: str) -> str:
    """A C++ identifier of any text: `Ants & Bees` becomes `ants_bees_41af6d38_model`.

    It ends in `_model`, so that it is no keyword, no macro and not `std`. Where more than spaces,
    dots and dashes was lost, a part of the name's hash keeps two such names apart.
    """
    ascii_text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", ascii_text)
    plain = "_".join(words)[:_MAX_NAMESPACE].strip("_")
    if len(name) > _MAX_NAMESPACE or not re.fullmatch(r"[A-Za-z0-9 ._-]+", name):
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
        plain = "_".join(filter(None, (plain, digest)))
    if not plain[:1].isalpha():
        plain = f"m{plain}"
    return f"{plain}_model"


@cache
def operator_table() -> dict[str, str]:
    """TensorFlow Lite Micro's operators, and the resolver's method that adds each."""
    return tomllib.loads((TEMPLATES / OPERATORS).read_text(encoding="utf-8"))


def _resolver_methods(
    operators: tuple[_Operator, ...], tensors: tuple[_Tensor, ...]
) -> tuple[str, ...]:
    """The methods that add just the operators in use. Raises ConversionError for an unknown one."""
    known = operator_table()
    for operator in operators:
        if operator.name not in known:
            made = layer_name(tensors[operator.outputs[0]].name) if operator.outputs else "?"
            raise ConversionError(
                f"TensorFlow Lite Micro has no operator {operator.name}, of layer {made!r}. "
                "Replace that layer and train again, or leave out the c variant."
            )
    return tuple(sorted({known[operator.name] for operator in operators}))


def _arena_lower_bound(graph: _Graph) -> int:
    """Bytes that TensorFlow Lite Micro's arena must exceed.

    The largest sum of activation tensors that are alive at one operator, and what each channel that
    is quantised by itself costs. The interpreter's own records, gaps between tensors and kernels'
    scratch memory come on top.
    """
    born, dies = dict.fromkeys(graph.inputs, 0), dict.fromkeys(graph.inputs, 0)
    for step, operator in enumerate(graph.operators):
        for index in operator.inputs:
            if index in born:  # neither a constant nor an input left out
                dies[index] = step
        for index in operator.outputs:
            born[index] = dies[index] = step
    dies.update(dict.fromkeys(graph.outputs, len(graph.operators) - 1))
    alive = [0] * len(graph.operators)
    for index in born:
        for step in range(born[index], dies[index] + 1):
            alive[step] += graph.tensors[index].arena_bytes
    weights = [t for t in graph.tensors if t.constant and t.dtype == "INT8"]
    return max(alive) + _BYTES_PER_CHANNEL * sum(t.channels for t in weights)


def _has_per_channel_dense(graph: _Graph) -> bool:
    """Whether a dense layer has a scale for each output: not every TFLM knows that."""
    dense = [operator for operator in graph.operators if operator.name == "FULLY_CONNECTED"]
    return any(
        graph.tensors[index].channels for operator in dense for index in operator.inputs[1:2]
    )


def _read(tflite: bytes) -> _Graph:
    try:
        if tflite[_IDENTIFIER] != b"TFL3":
            raise ValueError("its identifier is missing")
        model: Any = schema.Model.GetRootAs(tflite, 0)
        if model.SubgraphsLength() != 1:
            raise ValueError(f"it has {model.SubgraphsLength()} subgraphs, one is run")
        buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
        if any(buffer.Offset() > 1 for buffer in buffers):
            raise ValueError("it keeps weights behind the flatbuffer, where TFLM does not look")
        graph = model.Subgraphs(0)
        return _Graph(
            tensors=tuple(_tensors(graph, [buffer.DataLength() > 0 for buffer in buffers])),
            operators=tuple(_operators(model, graph)),
            inputs=tuple(graph.Inputs(i) for i in range(graph.InputsLength())),
            outputs=tuple(graph.Outputs(i) for i in range(graph.OutputsLength())),
        )
    except Exception as exc:  # flatbuffers raises whatever it meets in a damaged file
        raise ConversionError(f"The TFLite file cannot become C source: {brief(exc)}.") from exc


def _tensors(graph: Any, filled: list[bool]) -> Iterator[_Tensor]:
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        quantisation = tensor.Quantization()
        scales = quantisation.ScaleLength() if quantisation else 0
        yield _Tensor(
            name=(tensor.Name() or b"").decode(errors="replace"),
            dtype=_DTYPES[tensor.Type()],
            shape=tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())),
            scale=quantisation.Scale(0) if scales else 0.0,
            zero_point=quantisation.ZeroPoint(0) if scales else 0,
            channels=scales if scales > 1 else 0,
            constant=filled[tensor.Buffer()],
        )


def _operators(model: Any, graph: Any) -> Iterator[_Operator]:
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = codes[operator.OpcodeIndex()]
        # Older files have the small codes in the deprecated field only.
        name = _BUILTINS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name == "CUSTOM":
            name = f"CUSTOM {(code.CustomCode() or b'').decode(errors='replace')}"
        yield _Operator(
            name=name,
            inputs=tuple(operator.Inputs(i) for i in range(operator.InputsLength())),
            outputs=tuple(operator.Outputs(i) for i in range(operator.OutputsLength())),
        )


def _require_integers(graph: _Graph) -> None:
    wrong = [tensor for tensor in graph.tensors if tensor.dtype not in _ITEM_BYTES]
    if wrong:
        raise ConversionError(
            f"C source is made of tflite-int8, integers from end to end; here {len(wrong)} tensors "
            f"are not, such as {layer_name(wrong[0].name)!r} of {wrong[0].dtype}. Where repair "
            "kept layers in float: --keep-as int16."
        )


def _input_and_output(
    graph: _Graph, labels: tuple[str, ...], preprocess: Preprocess
) -> tuple[_Tensor, _Tensor]:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or not graph.operators:
        raise ConversionError(
            f"C source takes one input and one output; the model has {len(graph.inputs)} and "
            f"{len(graph.outputs)}, and {len(graph.operators)} operators."
        )
    source, answer = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    wanted = (1, *preprocess.input_shape)
    if source.dtype != "UINT8" or source.shape != wanted:
        raise ConversionError(
            f"The input {source.name!r} is {source.dtype} of shape {source.shape}; C source takes "
            f"UINT8 of shape {wanted}, the pixels as Preprocess leaves them."
        )
    units = answer.shape[-1] if answer.shape else 0
    if answer.dtype not in _C_TYPES or answer.shape != (1, units) or answer.scale <= 0:
        raise ConversionError(
            f"The output {answer.name!r} is {answer.dtype} of shape {answer.shape}; C source takes "
            "quantised INT8 or UINT8 of shape (1, numbers)."
        )
    if units != len(labels) and (units, len(labels)) != (1, 2):
        raise ConversionError(
            f"The output {answer.name!r} has {units} numbers for {len(labels)} labels; give "
            "as many labels as numbers, or two for one number."
        )
    return source, answer


def _byte_list(data: bytes) -> str:
    """`0x1c, 0x00, ...` in lines, by looking each byte's text up in one table at once."""
    table = np.array([f"0x{byte:02x}," for byte in range(256)], "S5")
    text: bytes = table[np.frombuffer(data, np.uint8)].tobytes()
    width = 5 * _BYTES_PER_LINE
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    return b"\n".join(lines).decode("ascii")


def _render(template: str, facts: dict[str, Any]) -> bytes:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["c_float"] = _c_float
    return environment.get_template(template).render(facts).encode()


def _c_float(value: float) -> str:
    """A float literal that reads back as the same float32."""
    text = f"{value:.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"
