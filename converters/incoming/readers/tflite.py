"""What a TFLite file says of itself: tensors, quantisation, and the metadata behind it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import RunError, brief
from converters.incoming.facts import Facts, PixelFacts, TensorFacts
from converters.incoming.readers.tflite_metadata import Said, labels_behind, read_metadata
from converters.tflite.graph import TfliteGraph
from edge_runtime.text import printable

MAX_BYTES = 2 << 30
_METADATA_NAME = b"TFLITE_METADATA"
_FLEX = "Flex"
_FAILED = re.compile(r"Node number (\d+) \((\w+)\) failed to prepare")
_PASS_ON = {"RESHAPE", "SQUEEZE", "DEQUANTIZE", "QUANTIZE", "CAST"}
_ENDS = {"SOFTMAX": "softmax", "LOG_SOFTMAX": "", "LOGISTIC": "sigmoid"}
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"}


def read(path: Path) -> Facts:
    """Load it, run it once on zeros, and read what it says.

    Raises:
        RunError: when it is damaged, or LiteRT does not run it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"{path}: is larger than 2 GiB, which no TFLite file can be.")
    data = path.read_bytes()
    try:
        graph = TfliteGraph(data)
    except RunError:
        raise
    except Exception as exc:  # flatbuffers raises whatever it meets
        raise RunError(f"{path}: is a damaged TFLite file: {brief(exc)}.") from exc
    interpreter = _tried(path, graph)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    said = _metadata(graph)
    units = int(outputs[0]["shape"][-1]) if outputs and len(outputs[0]["shape"]) else 0
    labels: tuple[str, ...] = ()
    with contextlib.suppress(Exception):  # a damaged archive behind it is none
        labels = labels_behind(data, said.label_files, units)
    tensors, named = tuple(_tensor(d) for d in inputs), graph.signature_names()
    precision = _precision(graph)
    return Facts(
        inputs=tensors,
        outputs=tuple(_output(d, interpreter, named) for d in outputs),
        precision=precision,
        pixels=_pixels(said, tensors),
        labels=labels,
        labels_origin="TFLite metadata" if labels else "",
        ends_in=_ENDS.get(_last(graph), ""),
        last=_last(graph),
        name=said.name,
    )


def _tried(path: Path, graph: TfliteGraph) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        for entry in interpreter.get_input_details():
            free = [1 if n < 1 else int(n) for n in entry["shape_signature"]]
            if list(entry["shape"]) != free:
                interpreter.resize_tensor_input(entry["index"], free)
        interpreter.allocate_tensors()
        for entry in interpreter.get_input_details():
            interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
        interpreter.invoke()
    except Exception as exc:  # LiteRT raises RuntimeError and ValueError
        raise RunError(f"{path}: does not run on LiteRT: {_why(exc, graph)}") from exc
    return interpreter


def _why(exc: Exception, graph: TfliteGraph) -> str:
    """One line that names the operator, and what to do."""
    text = brief(exc)
    custom = graph.custom_operators()
    flex = [name.removeprefix(_FLEX) for name in custom if name.startswith(_FLEX)]
    if flex:
        return (
            f"it has operators of TensorFlow's own ({_named(flex)}). Convert it again without "
            "SELECT_TF_OPS, or without that part of the model."
        )
    if custom and "custom op" in text:
        return (
            f"LiteRT does not know its custom operators ({_named(custom)}), and their code is not "
            "in the file. Convert it again with builtin operators only, or without that part."
        )
    if failed := _FAILED.search(text):
        # The rest is an assertion of C++ with the place of its source.
        return (
            f"its operator {failed[2]} (number {failed[1]}) cannot be prepared for these shapes. "
            "Convert it again without it, or with a fixed input size."
        )
    return text


def _named(names: Sequence[str]) -> str:
    return ", ".join(printable(name)[:80] for name in names[:5]) + ", …" * (len(names) > 5)


def _tensor(details: dict[str, Any]) -> TensorFacts:
    scale, zero_point = details["quantization"]
    signature = details.get("shape_signature", details["shape"])
    return TensorFacts(
        name=str(details["name"])[:1000],
        shape=tuple(None if n < 0 else int(n) for n in signature),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _output(details: dict[str, Any], interpreter: Any, named: dict[int, str]) -> TensorFacts:
    """By what the file's signature calls it, and of the shape that it really answered."""
    facts = _tensor(details)
    name = named.get(int(details["index"]), facts.name)
    shape = tuple(int(n) for n in interpreter.get_tensor(details["index"]).shape)
    return facts.model_copy(update={"name": name[:1000], "shape": shape})


def _metadata(graph: TfliteGraph) -> Said:
    content = graph.metadata(_METADATA_NAME)
    if content is None:
        return Said()
    try:
        return read_metadata(content)
    except Exception:  # flatbuffers raises whatever it meets; damaged metadata is none
        return Said()


def _pixels(said: Said, inputs: Sequence[TensorFacts]) -> PixelFacts | None:
    first = inputs[0] if inputs else None
    # Normalisation in the metadata of a quantised file is of the model before it was quantised.
    if first is not None and first.scale > 0 and first.dtype in ("uint8", "int8"):
        zero = first.zero_point + (128 if first.dtype == "int8" else 0)
        # A pixel is a level: (pixel - zero) * scale.
        return PixelFacts(
            scale=first.scale, mean=(zero * first.scale,), origin="the input's quantisation"
        )
    return said.pixels


def _precision(graph: TfliteGraph) -> str:
    """What kind of file it is, as variants are called; empty for a float one."""
    nodes = graph.nodes()
    weights = [
        (graph.dtype(n.inputs[1]), graph.dtype(n.inputs[0]))
        for n in nodes
        if n.code in _WEIGHTED and len(n.inputs) > 1 and n.inputs[1] >= 0
    ]
    if any(code == "DEQUANTIZE" and dtype == "FLOAT16" for code, dtype in _read_types(graph)):
        return "float16"
    # Some quantisers unpack weights by an operator before the layer that reads them.
    unpacked = {
        dtype for code, dtype in _read_types(graph) if code == "DEQUANTIZE" and dtype != "FLOAT32"
    }
    integers = [activation for weight, activation in weights if weight in ("INT8", "UINT8", "INT4")]
    if any(activation == "INT16" for activation in integers):
        return "int16x8"
    if any(activation in ("INT8", "UINT8") for activation in integers):
        return "int8"
    return "dynamic" if integers or unpacked & {"INT8", "UINT8", "INT4"} else ""


def _read_types(graph: TfliteGraph) -> list[tuple[str, str]]:
    return [
        (n.code, graph.dtype(n.inputs[0])) for n in graph.nodes() if n.inputs and n.inputs[0] >= 0
    ]


def _last(graph: TfliteGraph) -> str:
    """The operator that makes the answers."""
    made = {out: node for node in graph.nodes() for out in node.outputs}
    node = made.get(graph.output)
    while node is not None and node.code in _PASS_ON and node.inputs:
        node = made.get(node.inputs[0])
    return node.code if node is not None else ""
