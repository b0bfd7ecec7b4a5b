"""SavedModel folders: a program of TensorFlow operators, looked through before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, RunError, brief
from edge_runtime.quiet import quiet_native_stderr
from edge_runtime.text import printable

MAX_GRAPH_BYTES = 2 << 30
# What reaches out of the model: files, the network, Python, other libraries.
_REACH_OUT = (
    *("PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "LoadLibrary"),
    *("Reader", "RecordDataset", "TextLineDataset", "SummaryFileWriter", "FromTextFile"),
    *("DebugIdentity", "DebugNanCount", "Rpc", "PrintV2", "LoadDataset", "SaveDataset"),
    *("SnapshotDataset", "FileSystem", "LMDB", "BigQuery", "WholeFile", "CSVDataset"),
)
_PREFERRED = "serving_default"
_SHOWN = 8
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_PASS_ON = {"Identity", "Reshape", "Squeeze", "Cast"}
# Of a chain of operators that a hostile file may close to a ring.
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A loaded signature.

    Attributes:
        folder: where it lies.
        key: the signature's name; `keys` are all there are.
        function: the concrete function; it takes its arguments by name.
        inputs, outputs: name to TensorSpec.
    """

    folder: Path
    key: str
    keys: tuple[str, ...]
    function: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]

    def answers(self, values: np.ndarray) -> list[np.ndarray]:
        """Every output for one input: (batch, ...), in the order of `outputs`."""
        from converters.keras_quiet import tensorflow

        (name,) = self.inputs
        given = self.function(**{name: tensorflow.constant(values)})
        return [np.asarray(given[output]) for output in self.outputs]


def load_savedmodel(folder: Path, signature: str = "") -> SavedModel:
    """Load one signature.

    Args:
        signature: its name; unless given, the one that serves among those that take a picture.

    Raises:
        RunError: when it is damaged, has no signature or none of that name, or holds operators that
            reach out of it.
    """
    from converters.keras_quiet import tensorflow

    _require_harmless(folder)
    try:
        with quiet_native_stderr():
            loaded = tensorflow.saved_model.load(str(folder))
    except Exception as exc:  # TensorFlow raises whatever it meets
        raise RunError(f"{folder}: does not load: {brief(exc)}") from exc
    keys = sorted(loaded.signatures)
    if not keys:
        raise RunError(
            f"{folder}: has no signature, so that nobody knows what it takes; save it with "
            "tf.saved_model.save(model, folder, signatures=...), or model.export(folder)."
        )
    if signature and signature not in keys:
        raise RunError(
            f"{folder}: has no signature {printable(signature)!r}; it has {_named(keys)}."
        )
    key = signature or _serving(loaded.signatures, keys)
    function = loaded.signatures[key]
    function.edgeproof_keeps = loaded  # its variables go with the object that was loaded
    return SavedModel(
        folder,
        key,
        tuple(keys),
        function,
        dict(function.structured_input_signature[1]),
        dict(function.structured_outputs),
    )


def _named(keys: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(key)[:80]) for key in keys[:_SHOWN])
    return shown + ", …" * (len(keys) > _SHOWN)


def _serving(signatures: Any, keys: Sequence[str]) -> str:
    """Of those that take a picture, the one that serves; of all, where none does."""
    pictures = [key for key in keys if _takes_a_picture(signatures[key])]
    candidates = pictures or keys
    return _PREFERRED if _PREFERRED in candidates else candidates[0]


def _takes_a_picture(function: Any) -> bool:
    """Numbers of four axes, and nothing else: encoded files come as text."""
    inputs = list(function.structured_input_signature[1].values())
    return len(inputs) == 1 and inputs[0].shape.rank == 4 and inputs[0].dtype.name != "string"


def ends_in(model: SavedModel) -> str:
    """The operator that makes the only output: `Softmax`, say; empty where it cannot be told."""
    if len(model.outputs) != 1:
        return ""
    graph = model.function.graph.as_graph_def()
    functions = {f.signature.name: f for f in graph.library.function}
    nodes, place = {n.name: n for n in graph.node}, _source(model.function.outputs[0].name)
    for _ in range(_MOST_STEPS):
        name, output = place
        node = nodes.get(name)
        if node is None:
            return ""
        if node.op in _CALLS:
            called = functions.get(node.attr["f"].func.name)
            if called is None or output >= len(called.signature.output_arg):
                return ""
            nodes = {n.name: n for n in called.node_def}
            place = _source(called.ret[called.signature.output_arg[output].name])
        elif node.op in _PASS_ON and node.input:
            place = _source(node.input[0])
        else:
            return str(node.op)
    return ""


def _source(text: str) -> tuple[str, int]:
    """`node`, `node:1` of a graph, or `node:output:1` of a function."""
    name, *places = text.split(":")
    return name, int(places[-1]) if places else 0


def tflite_from_savedmodel(model: SavedModel, input_shape: tuple[int, ...]) -> bytes:
    """Its float TFLite file, for one picture of that shape (without the batch).

    Raises:
        ConversionError: when TensorFlow cannot convert it.
    """
    from converters.float_graphs import quiet_converters
    from converters.keras_quiet import tensorflow
    from converters.unsupported import unsupported_operators

    (name,) = model.inputs
    spec = tensorflow.TensorSpec((1, *input_shape), model.inputs[name].dtype, name)
    try:
        with quiet_converters():
            called = tensorflow.function(lambda image: model.function(**{name: image}))
            concrete = called.get_concrete_function(spec)
            converter = tensorflow.lite.TFLiteConverter.from_concrete_functions(
                [concrete], model.function
            )
            return bytes(converter.convert())
    except Exception as exc:  # TensorFlow raises whatever it meets
        said = unsupported_operators(str(exc)) or brief(exc)
        raise ConversionError(f"TensorFlow's converter cannot convert the model: {said}") from exc


def _require_harmless(folder: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    root = folder.resolve()
    for file in folder.rglob("*"):
        if not file.resolve().is_relative_to(root):
            raise RunError(f"{file}: is a link that leads out of the SavedModel; not opened.")
    file = folder / "saved_model.pb"
    if file.stat().st_size > MAX_GRAPH_BYTES:
        raise RunError(f"{file}: is larger than any SavedModel's graph.")
    parsed = saved_model_pb2.SavedModel()
    try:
        parsed.ParseFromString(file.read_bytes())
    except Exception as exc:  # protobuf raises its own, unrelated classes
        raise RunError(f"{folder}: its saved_model.pb is damaged: {brief(exc)}.") from exc
    for graph in parsed.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(n for f in functions for n in f.node_def)]
        for node in nodes:
            if any(word in node.op for word in _REACH_OUT):
                raise RunError(
                    f"{folder}: operator {node.op!r} ({node.name[:80]!r}) reaches out of the model "
                    "to files, the network or Python; such a SavedModel is not run."
                )
