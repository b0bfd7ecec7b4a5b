"""Small, exact edits of an ONNX model, as a graph of nodes and constants.

Source of the format: onnx's own `onnx.proto` and operator schemas, as the installed onnx has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.errors import ConversionError, brief
from edge_runtime.clip import Clip, input_shape
from edge_runtime.preprocess import Preprocess
from edge_runtime.tensors import TensorOutput

# Every dimension but the first is a number; the first is the name of the free batch axis.
Shape = tuple[int | str, ...]

BATCH = "batch"
PRODUCER = "edgeproof"
NHWC_TO_NCHW = (0, 3, 1, 2)
# Shape inference reads what shapes are made of, never weights: those need not be copied for it.
_SMALL = 64


@dataclass(frozen=True, eq=False)
class PixelScaling:
    """What a graph does first with a pixel: `value = pixel * scale + offset`.

    Attributes:
        scale, offset: float64, one number, or one for each channel.
        nodes: those that do it, in order; every one has the next as its only user.
        tensor: name of the float tensor that holds the value.
        nchw: whether it has been transposed from NHWC on the way.
    """

    scale: np.ndarray
    offset: np.ndarray
    nodes: tuple[Any, ...]
    tensor: str
    nchw: bool

    @property
    def zero_level(self) -> np.ndarray:
        """The pixel level whose value is 0: whole numbers when quantisation can be exact."""
        return -self.offset / self.scale


class OnnxGraph:
    """An ONNX model with one input that can be edited and written again.

    Attributes:
        nodes: NodeProtos; `to_model` sorts them.
        constants: initializers by name.
    """

    def __init__(self, model: bytes | Any) -> None:
        """Raises ConversionError when it has several inputs or no output, or cannot be read."""
        import onnx
        from onnx import numpy_helper

        if isinstance(model, bytes):
            model = _loaded(model)
        graph = model.graph
        if len(graph.input) != 1 or not graph.output:
            raise ConversionError(
                f"The ONNX graph has {len(graph.input)} inputs and {len(graph.output)} outputs; "
                "only models with one input convert."
            )
        self.nodes: list[Any] = list(graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        # Everything else, to be written again; a copy of the weights would be large.
        self._shell: Any = onnx.ModelProto(ir_version=model.ir_version)
        for field in ("producer_name", "doc_string"):
            setattr(self._shell, field, getattr(model, field))
        for field in ("opset_import", "metadata_props"):
            getattr(self._shell, field).extend(getattr(model, field))
        self._shell.graph.name = graph.name
        self._shell.graph.input.extend(graph.input)
        self._shell.graph.output.extend(graph.output)

    @property
    def input(self) -> Any:
        """The input's ValueInfoProto."""
        return self._shell.graph.input[0]

    @property
    def output(self) -> Any:
        """The first output's ValueInfoProto."""
        return self._shell.graph.output[0]

    @property
    def outputs(self) -> list[Any]:
        """Every output's."""
        return list(self._shell.graph.output)

    @property
    def output_names(self) -> list[str]:
        """Names of the tensors that are answered."""
        return [value.name for value in self._shell.graph.output]

    def set_outputs(self, outputs: Sequence[Any]) -> None:
        """Let these ValueInfoProtos be the outputs."""
        del self._shell.graph.output[:]
        self._shell.graph.output.extend(outputs)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return int(next(o.version for o in self._shell.opset_import if o.domain in ("", "ai.onnx")))

    def producer(self, tensor: str) -> Any | None:
        """The node that makes the tensor; None for the input and constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def users(self, tensor: str) -> list[Any]:
        """The nodes that read the tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def only_user(self, tensor: str) -> Any | None:
        """The one node that reads the tensor; None when there are several, or it is an output."""
        users = self.users(tensor)
        return users[0] if len(users) == 1 and tensor not in self.output_names else None

    def scalar(self, tensor: str) -> float | None:
        """The one number that a constant holds, also when repeated; else None."""
        values = np.unique(self.constants[tensor]) if tensor in self.constants else np.empty(0)
        return float(values[0]) if len(values) == 1 else None

    def fresh(self, name: str) -> str:
        """The name, or with the first number that makes it new."""
        taken = {self.input.name, *self.constants, *(t for node in self.nodes for t in node.output)}
        taken.update(node.name for node in self.nodes)
        return first_free(name, taken)

    def add_node(
        self, op_type: str, inputs: Sequence[str], output: str, name: str, **attributes: Any
    ) -> Any:
        """Append a node of a standard operator."""
        from onnx import helper

        node = helper.make_node(op_type, list(inputs), [output], name=name, **attributes)
        self.nodes.append(node)
        return node

    def add_constant(self, name: str, values: np.ndarray) -> str:
        """Add an initializer under that name, or the next free one; returns its name."""
        name = self.fresh(name)
        self.constants[name] = values
        return name

    def remove(self, nodes: Iterable[Any]) -> None:
        """Take nodes out; what they made is then missing unless nobody reads it."""
        gone = [id(node) for node in nodes]
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def read_instead(self, old: str, new: str) -> None:
        """Let every node that reads one tensor read another."""
        for node in self.nodes:
            for index, tensor in enumerate(node.input):
                if tensor == old:
                    node.input[index] = new

    def rename_tensors(self, names: Mapping[str, str]) -> None:
        """Rename tensors and constants wherever they occur."""
        for node in self.nodes:
            node.input[:] = [names.get(t, t) for t in node.input]
            node.output[:] = [names.get(t, t) for t in node.output]
        self.constants = {names.get(t, t): values for t, values in self.constants.items()}
        for value in (self.input, *self.outputs):
            value.name = names.get(value.name, value.name)

    def drop_dead(self) -> None:
        """Remove nodes and constants that no output needs, and sort the rest."""
        live, kept = set(self.output_names), []
        for node in reversed(self._sorted()):
            if live.intersection(node.output):
                kept.append(node)
                live.update(node.input)
        self.nodes = kept[::-1]
        self.constants = {name: v for name, v in self.constants.items() if name in live}

    def shapes(self) -> dict[str, Shape]:
        """Shape of every activation whose rank is known.

        A first dimension without a number is the batch: only the batch is free in these graphs.
        """
        return {name: _shape(value) for name, value in self._inferred().items()}

    def dtypes(self) -> dict[str, int]:
        """onnx's element type of every activation and constant."""
        from onnx import helper

        types = {name: v.type.tensor_type.elem_type for name, v in self._inferred().items()}
        for name, values in self.constants.items():
            types[name] = helper.np_dtype_to_tensor_dtype(values.dtype)
        return types

    def pixel_scaling(self) -> PixelScaling | None:
        """How the graph scales pixels before anything else; None when it does not cast them."""
        from onnx import helper

        tensor, scale, offset = self.input.name, np.float64(1), np.float64(0)
        nodes: list[Any] = []
        nchw = cast = False
        while (node := self.only_user(tensor)) is not None:
            number = self._channel_constant(node, nchw=nchw)
            if node.op_type == "Cast" and not cast:
                cast = True
            elif node.op_type == "Transpose" and not nchw:
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                if tuple(attributes["perm"]) != NHWC_TO_NCHW:
                    break
                nchw = True
            elif node.op_type == "Mul" and number is not None:
                scale, offset = scale * number, offset * number
            elif node.op_type == "Div" and number is not None and node.input[0] == tensor:
                scale, offset = scale / number, offset / number
            elif node.op_type == "Add" and number is not None:
                offset = offset + number
            elif node.op_type == "Sub" and number is not None and node.input[0] == tensor:
                offset = offset - number
            else:
                break
            nodes.append(node)
            tensor = node.output[0]
        if not cast or np.any(scale <= 0):
            return None
        return PixelScaling(np.asarray(scale), np.asarray(offset), tuple(nodes), tensor, nchw)

    def _channel_constant(self, node: Any, *, nchw: bool) -> np.ndarray | None:
        """The constant that a node applies to each channel alike, whichever side it is on."""
        found = [self.constants[t] for t in node.input if t in self.constants]
        if len(node.input) != 2 or len(found) != 1:
            return None
        values = found[0].astype(np.float64)
        if values.size == 1:
            return values.reshape(())
        axis = 1 if nchw else 3
        padded = (1,) * (4 - values.ndim) + values.shape
        return values.ravel() if padded[axis] == values.size else None

    def to_model(self) -> Any:
        """The ModelProto: sorted, checked, with every activation's shape.

        Raises:
            ConversionError: when it is not valid, or a shape contradicts another.
        """
        import onnx
        from onnx import numpy_helper

        self.drop_dead()
        model = onnx.ModelProto()
        model.CopyFrom(self._shell)
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(values, order="C"), name)
            for name, values in self.constants.items()
        )
        try:
            inferred, answered = self._inferred(strict=True), set(self.output_names)
            model.graph.value_info.extend(
                inferred[t]
                for node in self.nodes
                for t in node.output
                if t not in answered and t in inferred
            )
            onnx.checker.check_model(model, full_check=True)
        except Exception as exc:  # onnx raises its own, unrelated classes
            raise ConversionError(f"The ONNX graph is not valid: {brief(exc)}") from exc
        return model

    def to_bytes(self) -> bytes:
        """The model as a file's content; the same graph gives the same bytes."""
        return bytes(self.to_model().SerializeToString(deterministic=True))

    def _inferred(self, *, strict: bool = False) -> dict[str, Any]:
        """ValueInfoProto of every activation, the first dimension named after the batch."""
        import onnx
        from onnx import helper, numpy_helper

        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(self._shell)
        skeleton.graph.node.extend(self._sorted())
        for name, values in self.constants.items():
            if values.size <= _SMALL:
                skeleton.graph.initializer.append(numpy_helper.from_array(values, name))
            else:
                dtype = helper.np_dtype_to_tensor_dtype(values.dtype)
                skeleton.graph.input.append(
                    helper.make_tensor_value_info(name, dtype, values.shape)
                )
        done = onnx.shape_inference.infer_shapes(
            skeleton, check_type=strict, strict_mode=strict, data_prop=True
        ).graph
        found = {v.name: v for v in (*done.input, *done.output, *done.value_info)}
        for value in found.values():
            dims = value.type.tensor_type.shape.dim
            if dims and not dims[0].HasField("dim_value"):
                dims[0].dim_param = BATCH
        return {name: value for name, value in found.items() if name not in self.constants}

    def _sorted(self) -> list[Any]:
        """Every node after those whose tensors it reads, otherwise in the order they are in."""
        made = {t for node in self.nodes for t in node.output}
        waiting, done, order = list(self.nodes), set[str](), list[Any]()
        while waiting:
            first = next(
                (
                    index
                    for index, node in enumerate(waiting)
                    if all(t in done or t not in made for t in node.input)
                ),
                None,
            )
            if first is None:
                raise ConversionError(f"The ONNX graph has a cycle at node {waiting[0].name!r}.")
            order.append(waiting.pop(first))
            done.update(order[-1].output)
        return order


def fresh_model(converted: Any, input_name: str, weights: Mapping[str, np.ndarray]) -> Any:
    """A converter's ModelProto without its marks: standard operators only, the batch free.

    Args:
        input_name: the one input; the others are constants that were kept apart.
        weights: those, by name.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto(ir_version=converted.ir_version, producer_name=PRODUCER)
    model.opset_import.extend(o for o in converted.opset_import if o.domain in ("", "ai.onnx"))
    graph = converted.graph
    model.graph.name = PRODUCER
    model.graph.node.extend(graph.node)
    model.graph.input.extend(value for value in graph.input if value.name == input_name)
    model.graph.output.extend(graph.output)
    model.graph.initializer.extend(graph.initializer)
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return model


def with_metadata(
    onnx_model: bytes,
    *,
    name: str,
    labels: Sequence[str],
    preprocess: Preprocess,
    precision: str,
    clip: Clip | None = None,
    description: str = "",
    outputs: Sequence[TensorOutput] = (),
) -> bytes:
    """The model with what a stranger needs to use it, for any viewer and runtime to read.

    In `metadata_props`, as text: `labels` (JSON list), `preprocess` (JSON, as in `bundle.json`),
    `precision`, `description`, `clip` where the input is one, and what tools made for Ultralytics'
    exports look for: `names`, `imgsz` (height, width) and `task`. The graph is named `name`; the
    doc string says in words what the input must be. The same arguments give the same bytes. Of
    `outputs`, which are raw tensors, it says their names and shapes instead of labels.

    Raises:
        ConversionError: when the model cannot be read.
    """
    model = _loaded(onnx_model)
    model.producer_name = PRODUCER
    model.graph.name = name
    source = model.graph.input[0].name
    size = ", ".join(map(str, input_shape(preprocess, clip)))
    model.doc_string = (
        f"{description or name}\n\n"
        f"Input {source!r}: uint8, (batch, {size}), "
        f"{preprocess.channels.upper()}, fitted by {preprocess.fit!r}; scaling and normalisation "
        f"are inside the model.\n{_answered(model, labels, outputs)}"
    )
    properties = {
        "description": description,
        "imgsz": str([preprocess.height, preprocess.width]),
        "labels": json.dumps(list(labels), ensure_ascii=False),
        "name": name,
        "names": str(dict(enumerate(labels))),
        "precision": precision,
        "preprocess": preprocess.model_dump_json(),
        "task": "classify",
    }
    if outputs:
        properties = {k: v for k, v in properties.items() if k not in ("labels", "names", "task")}
        properties["outputs"] = json.dumps({o.name: list(o.shape) for o in outputs})
    if clip:
        properties["clip"] = clip.model_dump_json()
    del model.metadata_props[:]
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString(deterministic=True))


def _loaded(onnx_model: bytes) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(onnx_model)
    except Exception as exc:  # protobuf raises its own, unrelated classes
        raise ConversionError(f"The ONNX model cannot be read: {brief(exc)}") from exc


def _answered(model: Any, labels: Sequence[str], outputs: Sequence[TensorOutput]) -> str:
    if outputs:
        return f"Outputs, by name: {', '.join(o.text for o in outputs)}."
    target = model.graph.output[0]
    units = int(target.type.tensor_type.shape.dim[1].dim_value)
    return f"Output {target.name!r}: float32, (batch, {units}), for {', '.join(labels)}."


def first_free(name: str, taken: Iterable[str]) -> str:
    """The name, or the first of `name_2`, `name_3`, … that is not taken."""
    taken, number, candidate = set(taken), 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _shape(value: Any) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)
