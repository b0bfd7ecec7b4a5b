"""Pixels in front of somebody else's ONNX graph, probabilities behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, brief
from converters.float_graphs import INPUT_NAME, ONNX_OPSET, OUTPUT_NAME
from converters.incoming.convention import Convention
from converters.onnx.graph import NHWC_TO_NCHW, OnnxGraph
from converters.onnx.tidy import tidy
from edge_runtime.head import Head
from edge_runtime.tensors import TensorOutput
from edge_runtime.text import printable

_FLOAT = 1


def folded(file: Path, scratch: Path) -> Any:
    """The model with what is constant computed, batch normalisation in its weights, and opset 17.

    Weights that the graph itself makes (ConstantOfShape, Identity) are weights to a quantiser only
    then. Raises ConversionError.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    target = scratch / "folded.onnx"
    options.optimized_model_filepath = str(target)
    try:
        source = file
        model = onnx.load(str(file))
        if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < ONNX_OPSET:
            source = scratch / "newer.onnx"
            model = onnx.version_converter.convert_version(_plain_inputs(model), ONNX_OPSET)
            onnx.save(model, str(source))
        elif _has_outer_data(file):
            # onnxruntime would look for the data beside the file that it writes.
            source = scratch / "whole.onnx"
            onnx.save(model, str(source))
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return _plain_inputs(onnx.load(str(target)))
    except Exception as exc:  # onnx and onnxruntime raise their own, unrelated classes
        raise ConversionError(
            f"onnx cannot bring the model to opset {ONNX_OPSET}: {brief(exc)}"
        ) from exc


def _has_outer_data(file: Path) -> bool:
    """Whether weights lie in files of their own."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    bare = onnx.load(str(file), load_external_data=False)
    return any(map(uses_external_data, bare.graph.initializer))


def _plain_inputs(model: Any) -> Any:
    """Without the inputs that are constants: files of before 2019 list every weight as one."""
    constants = {i.name for i in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 8)
    return model


def pack(
    file: Path, convention: Convention, head: Head, tensors: Sequence[TensorOutput] = ()
) -> bytes:
    """The same model for uint8 NHWC pixels, answering one probability per label, or raw tensors.

    Args:
        tensors: raw tensors: every output, in the file's order.

    Raises:
        ConversionError: when it cannot be brought to the opset, or is not valid.
    """
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        model = folded(file, Path(folder))
    for opset in list(model.opset_import):
        if opset.domain not in ("", "ai.onnx") and not _uses(model, opset.domain):
            model.opset_import.remove(opset)
    _require_standard(model)
    graph = OnnxGraph(model)
    if len(graph.outputs) != max(1, len(tensors)):
        raise ConversionError(f"The ONNX graph has {len(graph.outputs)} outputs.")
    _pixels_in_front(graph, convention)
    if tensors:
        _fixed_outputs(graph, tensors)
    else:
        _probabilities_behind(graph, head)
    try:
        names = [output.name for output in tensors] or [OUTPUT_NAME]
        tidy(graph, input_name=INPUT_NAME, output_names=names)
        packed = graph.to_bytes()
        if tensors:
            return _one_at_a_time(packed)
        return packed if _takes_two(packed, convention) else _one_at_a_time(packed)
    except ConversionError:
        raise
    except Exception as exc:  # onnx raises its own, unrelated classes
        raise ConversionError(f"The ONNX graph cannot be packed: {brief(exc)}") from exc


def _takes_two(packed: bytes, convention: Convention) -> bool:
    """Whether the batch is really free: a reshape to a batch of one may stand in the middle."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(packed, options, providers=["CPUExecutionProvider"])
    shape = convention.preprocess.input_shape
    pair = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    try:
        (both,) = session.run(None, {INPUT_NAME: pair})
        (second,) = session.run(None, {INPUT_NAME: pair[1:]})
    except Exception:  # onnxruntime raises its own, unrelated classes
        return False
    return len(both) == 2 and np.allclose(both[1:], second, rtol=1e-3, atol=1e-4)


def _one_at_a_time(packed: bytes) -> bytes:
    """The same with its batch fixed to one picture."""
    import onnx

    model = onnx.load_model_from_string(packed)
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    del model.graph.value_info[:]  # those speak of a free batch
    return bytes(model.SerializeToString(deterministic=True))


def _uses(model: Any, domain: str) -> bool:
    return any(node.domain == domain for node in model.graph.node)


def _require_standard(model: Any) -> None:
    """Raises ConversionError for operators that one engine has and no standard describes."""
    from onnx import defs

    nodes = model.graph.node
    inner = {node.op_type for node in nodes if any(a.HasField("g") for a in node.attribute)}
    if inner:
        raise ConversionError(
            f"The ONNX graph has control flow ({', '.join(sorted(inner))}); only plain graphs "
            "convert. Export the model with that part fixed, or unrolled."
        )
    strange = {f"{n.domain}:{n.op_type}" for n in nodes if not defs.has(n.op_type, n.domain)}
    if strange:
        names = ", ".join(sorted(strange)[:4])
        raise ConversionError(
            f"The ONNX graph uses operators of no standard ({printable(names)}). If it was "
            "quantised, do that with QuantFormat.QDQ; else export it without optimisations for one "
            "engine."
        )


def _pixels_in_front(graph: OnnxGraph, convention: Convention) -> None:
    from onnx import TensorProto, helper

    preprocess = convention.preprocess
    inner, inner_type = graph.input.name, graph.input.type.tensor_type.elem_type
    shape: list[int | str | None] = ["batch", *preprocess.input_shape]
    value = helper.make_tensor_value_info(
        graph.fresh(f"{INPUT_NAME}_uint8"), TensorProto.UINT8, shape
    )
    graph.input.CopyFrom(value)
    plain, nchw = convention.plain, convention.layout == "nchw"
    tensor = _after(graph, "Cast", [graph.input.name], to=_FLOAT)
    if plain is not None:
        if nchw:
            tensor = _after(graph, "Transpose", [tensor], perm=list(NHWC_TO_NCHW))
        for operator, number, unit in (("Mul", plain[0], 1.0), ("Add", plain[1], 0.0)):
            if number != unit:
                constant = graph.add_constant("pixel/scaling", np.float32(number).reshape(()))
                tensor = _after(graph, operator, [tensor, constant])
    else:
        tensor = _after(graph, "Transpose", [tensor], perm=list(NHWC_TO_NCHW))
        tensor = _mixed(graph, tensor, convention)
        if not nchw:
            tensor = _after(graph, "Transpose", [tensor], perm=[0, 2, 3, 1])
    if inner_type != _FLOAT:
        tensor = _after(graph, "Cast", [tensor], to=inner_type)
    graph.read_instead(inner, tensor)


def _mixed(graph: OnnxGraph, tensor: str, convention: Convention) -> str:
    """Channels each by itself: factors where they keep their order, else a convolution."""
    matrix, offset = convention.matrix, convention.offset
    if convention.depth == 3 and np.count_nonzero(matrix - np.diag(np.diag(matrix))) == 0:
        factors = np.diag(matrix).astype(np.float32).reshape(1, 3, 1, 1)
        terms = offset.astype(np.float32).reshape(1, 3, 1, 1)
        tensor = _after(graph, "Mul", [tensor, graph.add_constant("pixel/factors", factors)])
        return _after(graph, "Add", [tensor, graph.add_constant("pixel/terms", terms)])
    weights = graph.add_constant("pixel/weights", matrix.astype(np.float32)[:, :, None, None])
    bias = graph.add_constant("pixel/offset", offset.astype(np.float32))
    return _after(graph, "Conv", [tensor, weights, bias], kernel_shape=[1, 1])


def _fixed_outputs(graph: OnnxGraph, tensors: Sequence[TensorOutput]) -> None:
    """Every output with the shape that it has for one picture, the axis of the batch before it."""
    from onnx import helper

    fixed = []
    for value, output in zip(graph.outputs, tensors, strict=True):
        kind = value.type.tensor_type
        rank = len(kind.shape.dim) if kind.HasField("shape") else len(output.shape) + 1
        shape = [*[1] * (rank - len(output.shape)), *output.shape]
        fixed.append(helper.make_tensor_value_info(value.name, kind.elem_type, shape))
    graph.set_outputs(fixed)


def _probabilities_behind(graph: OnnxGraph, head: Head) -> None:
    from onnx import TensorProto, helper

    tensor, units = graph.output.name, _units(graph)
    if graph.output.type.tensor_type.elem_type != _FLOAT:
        tensor = _after(graph, "Cast", [tensor], to=_FLOAT)
    if len(graph.output.type.tensor_type.shape.dim) != 2:
        tensor = _after(graph, "Flatten", [tensor], axis=1)
    if head.kind == "sigmoid":
        tensor = _both(graph, tensor, (-1.0, 1.0), (1.0, 0.0))
    elif head.kind == "logit":
        tensor = _both(graph, tensor, (-0.5, 0.5), None)
    if head.kind in ("logit", "logits"):
        tensor = _after(graph, "Softmax", [tensor], axis=-1)
    labels = 2 if head.single else units
    if tensor == graph.output.name and not head.single:
        graph.output.type.tensor_type.shape.dim[0].dim_param = "batch"
        return
    graph.output.CopyFrom(
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["batch", labels])
    )


def _units(graph: OnnxGraph) -> int:
    dims = [d.dim_value for d in graph.output.type.tensor_type.shape.dim[1:]]
    return int(np.prod([d or 1 for d in dims]))


def _both(
    graph: OnnxGraph, tensor: str, factors: tuple[float, float], terms: tuple[float, float] | None
) -> str:
    """One number as two."""
    constant = graph.add_constant("both/factors", np.array([factors], np.float32))
    tensor = _after(graph, "Mul", [tensor, constant])
    if terms is None:
        return tensor
    return _after(
        graph, "Add", [tensor, graph.add_constant("both/terms", np.array([terms], np.float32))]
    )


def _after(graph: OnnxGraph, operator: str, inputs: list[str], **attributes: Any) -> str:
    output = graph.fresh(f"edgeproof/{operator}")
    graph.add_node(operator, inputs, output, output, **attributes)
    return output
