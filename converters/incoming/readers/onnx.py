"""What an ONNX file says of itself: tensors, `metadata_props`, and whether its data is its own."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.errors import RunError, brief
from converters.incoming.facts import Facts, PixelFacts, TensorFacts
from edge_runtime.preprocess import Preprocess
from edge_runtime.text import printable

# Neither onnx's own functions nor a protobuf hold more in one piece.
MAX_BYTES = 2 << 30
_MOST_TEXT = 4 << 20
_PASS_ON = {"Reshape", "Squeeze", "Flatten", "Identity", "Cast", "DequantizeLinear"}
_SHOWN = 5
# Those that onnxruntime knows: ONNX's own and its own.
_DOMAINS = {
    *("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"),
    *("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "org.pytorch.aten"),
}
_ENDS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_QUANTISED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"}


def read(path: Path) -> Facts:
    """Load it, run it once on zeros where every size is known, and read what it says.

    Raises:
        RunError: when it is damaged, too large, or its weights lie outside its folder.
    """
    import onnx

    if path.stat().st_size > MAX_BYTES:
        raise RunError(
            f"{path}: is larger than 2 GiB, which onnx cannot take in one piece; save its weights "
            "as external data beside it, or in float16."
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as exc:  # protobuf raises its own, unrelated classes
        raise RunError(f"{path}: is a damaged ONNX file: {brief(exc)}.") from exc
    graph = model.graph
    if not graph.node or not graph.output:
        raise RunError(f"{path}: is an ONNX file without a graph; it is cut off or damaged.")
    outside = require_own_data(path, model)
    if outside > MAX_BYTES:
        raise RunError(
            f"{path}: has {outside / 2**30:.1f} GiB of external data, and a bundle's files hold at "
            "most 2 GiB each; models of that size are not for the edge. Take a smaller one."
        )
    constants = {i.name for i in graph.initializer}
    inputs = tuple(_tensor(v) for v in graph.input if v.name not in constants)
    _require_tensors(path, graph)
    outputs = tuple(_tensor(v) for v in graph.output)
    said = {p.key: p.value for p in model.metadata_props if len(p.value) <= _MOST_TEXT}
    labels, labels_origin = _first(said, _LABELS)
    pixels, _ = _first(said, _PIXELS)
    channels, channels_origin = _first(said, _CHANNELS)
    _require_known_operators(path, model)
    _try(path, inputs)
    return Facts(
        inputs=inputs,
        outputs=outputs,
        precision=_precision(graph, inputs),
        pixels=pixels,
        labels=tuple(labels or ()),
        labels_origin=labels_origin,
        channels=channels or "",
        channels_origin=channels_origin,
        ends_in=_ENDS.get(_last(graph), ""),
        last=_last(graph)[:100],
        name=graph.name[:200],
    )


def _require_tensors(path: Path, graph: Any) -> None:
    """Raises RunError for answers that are no numbers, as converters of scikit-learn make them."""
    from onnx import TensorProto

    for value in graph.output:
        is_text = value.type.tensor_type.elem_type == TensorProto.STRING
        if is_text or not value.type.HasField("tensor_type"):
            kind = "text" if is_text else "a map or a list"
            raise RunError(
                f"{path}: answers {kind} as {printable(value.name)[:100]!r}; export it with its "
                "scores as numbers only (of skl2onnx: options={'zipmap': False}, and the output "
                "of probabilities alone)."
            )


def _require_known_operators(path: Path, model: Any) -> None:
    """Raises RunError for operators of a domain that onnxruntime brings no kernels for."""
    own = {(f.domain, f.name) for f in model.functions}
    strange = {
        (node.domain, node.op_type): None
        for node in model.graph.node
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own
    }
    if strange:
        shown = [f"{domain}:{kind}"[:100] for domain, kind in list(strange)[:_SHOWN]]
        named = ", ".join(map(printable, shown)) + ", …" * (len(strange) > _SHOWN)
        raise RunError(
            f"{path}: has custom operators ({named}), whose code is not in the file; export it "
            "with ONNX's own operators, or without that part of the model."
        )


def require_own_data(path: Path, model: Any) -> int:
    """Bytes of external data; all of it must lie below the file's own folder.

    Raises:
        RunError: when it lies elsewhere, or is not there.
    """
    from onnx.external_data_helper import uses_external_data

    root, files = path.parent.resolve(), set[Path]()
    for tensor in _tensors(model):
        if not uses_external_data(tensor):
            continue
        place = next((e.value for e in tensor.external_data if e.key == "location"), "")
        parts = PurePosixPath(place).parts
        file = (root / place).resolve()
        unsafe = not parts or ".." in parts or place[0] in "/\\" or ":" in place
        if unsafe or not file.is_relative_to(root):
            raise RunError(
                f"{path}: keeps weights in {place!r}, outside its own folder; not opened."
            )
        if not file.is_file():
            raise RunError(
                f"{path}: its weights lie in {place!r}, which is not there; copy it beside it."
            )
        files.add(file)
    return sum(file.stat().st_size for file in files)


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model, those in attributes and inner graphs as well."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs += attribute.graphs


def _tensor(value: Any) -> TensorFacts:
    from onnx import helper

    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError, ValueError):
        dtype = "unknown"
    dims = tensor.shape.dim if tensor.HasField("shape") else ()
    return TensorFacts(
        name=value.name[:1000],
        shape=tuple(d.dim_value if d.HasField("dim_value") and d.dim_value else None for d in dims),
        dtype=dtype,
    )


def _try(path: Path, inputs: tuple[TensorFacts, ...]) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        shapes = [tuple(n or 1 for n in i.shape[:1]) + i.shape[1:] for i in inputs]
        if all(None not in shape for shape in shapes) and all(i.dtype != "unknown" for i in inputs):
            feed = {
                i.name: np.zeros([int(n or 1) for n in shape], i.dtype)
                for i, shape in zip(inputs, shapes, strict=True)
            }
            session.run(None, feed)
    except Exception as exc:  # onnxruntime raises its own, unrelated classes
        raise RunError(f"{path}: does not run on onnxruntime: {brief(exc)}") from exc


def _precision(graph: Any, inputs: tuple[TensorFacts, ...]) -> str:
    """What kind of file it is, as variants are called; empty for a float one."""
    from onnx import TensorProto

    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    types = [i.data_type for i in graph.initializer if len(i.dims) > 1]
    half = sum(dtype == TensorProto.FLOAT16 for dtype in types)
    if any(i.dtype == "float16" for i in inputs) or half * 2 > len(types):
        return "float16"
    return ""


def _last(graph: Any) -> str:
    """The operator that makes the answers."""
    made = {out: node for node in graph.node for out in node.output}
    node = made.get(graph.output[0].name)
    while node is not None and node.op_type in _PASS_ON and node.input:
        node = made.get(node.input[0])
    return str(node.op_type) if node is not None else ""


def _json_labels(text: str) -> list[str]:
    return _as_labels(json.loads(text))


def _literal_labels(text: str) -> list[str]:
    """Ultralytics writes Python's `{0: 'cat', 1: 'dog'}`."""
    return _as_labels(ast.literal_eval(text))


def _lines(text: str) -> list[str]:
    return _as_labels([line.strip() for line in text.replace(",", "\n").splitlines()])


def _as_labels(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, (str, int)) for v in value):
        raise ValueError("no list of labels")
    return [printable(str(v))[:1000] for v in value]


def _own_pixels(text: str) -> PixelFacts:
    Preprocess.model_validate_json(text)  # others call other things so
    return PixelFacts(origin="the file's own preprocess entry: scaling is inside")


# https://learn.microsoft.com/windows/ai/windows-ml: Image.NominalPixelRange
_RANGES = {
    "NominalRange_0_255": PixelFacts(origin="metadata Image.NominalPixelRange"),
    "Normalized_0_1": PixelFacts(scale=1 / 255, origin="metadata Image.NominalPixelRange"),
    "Normalized_1_1": PixelFacts(
        scale=1 / 127.5, mean=(1.0,), origin="metadata Image.NominalPixelRange"
    ),
}
_FORMATS = {"Bgr8": "bgr", "Rgb8": "rgb"}

_Reader = Callable[[str], Any]
# By the key in metadata_props; the first that is there and readable counts.
_LABELS: Mapping[str, _Reader] = {
    "labels": _json_labels,
    "names": _literal_labels,
    "classes": _lines,
}
_PIXELS: Mapping[str, _Reader] = {
    "preprocess": _own_pixels,
    "Image.NominalPixelRange": _RANGES.__getitem__,
    # Ultralytics' exports all take pixels from 0 to 1.
    "stride": lambda _: PixelFacts(scale=1 / 255, origin="metadata of an Ultralytics export"),
}
_CHANNELS: Mapping[str, _Reader] = {
    "Image.BitmapPixelFormat": _FORMATS.__getitem__,
    "preprocess": lambda text: {"rgb": "rgb", "bgr": "bgr"}[json.loads(text)["channels"]],
}


def _first(said: Mapping[str, str], readers: Mapping[str, _Reader]) -> tuple[Any, str]:
    """The first entry that can be read, and where it is from."""
    for key, reader in readers.items():
        if key in said:
            try:
                return reader(said[key]), f"ONNX metadata {key!r}"
            except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
    return None, ""
