"""The colour bundle with a second file: the same model as ONNX, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.engines import load_engine
from edge_runtime.files import sha256_file
from edge_runtime.golden import GoldenTensors
from edge_runtime.manifest import FileEntry, Manifest

SIDE, LABELS = 16, 3


def colour_onnx(*, opset: int = 17, quantized: bool = False, batch: int | str = "batch") -> bytes:
    """ONNX file: uint8 (batch, 16, 16, 3) RGB to float32 (batch, 3) probabilities.

    Args:
        quantized: the means go through int8 and back, as in an int8 file.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def constant(name: str, values: np.ndarray) -> object:
        return onnx.numpy_helper.from_array(values, name)

    axes = {"axes": [1, 2]} if opset < 18 else {}
    means = ["value"] if opset < 18 else ["value", "axes"]
    nodes = [
        helper.make_node("Cast", ["image"], ["value"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", means, ["mean"], keepdims=0, **axes),
        helper.make_node("Mul", ["coarse" if quantized else "mean", "gain"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [constant("gain", np.array([1 / 16], np.float32))]
    if opset >= 18:
        constants.append(constant("axes", np.array([1, 2], np.int64)))
    if quantized:
        nodes[2:2] = [
            helper.make_node("QuantizeLinear", ["mean", "scale", "zero"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["coarse"]),
        ]
        constants.append(constant("scale", np.array(1.0, np.float32)))
        constants.append(constant("zero", np.array(-128, np.int8)))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE, SIDE, 3])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, LABELS])
    graph = helper.make_graph(nodes, "colours", [image], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@pytest.fixture
def onnx_bytes() -> Callable[..., bytes]:
    """`colour_onnx`, for tests that want a file."""
    return colour_onnx


def entry(folder: Path, path: str) -> FileEntry:
    file = folder / path
    return FileEntry(path=path, bytes=file.stat().st_size, sha256=sha256_file(file))


@pytest.fixture
def twin_bundle(colour_bundle: Path, reseal: Callable[[Path, Manifest | bytes], None]) -> Path:
    """The colour bundle with `tflite-float32` and `onnx-float32`."""
    pytest.importorskip("onnxruntime")
    (colour_bundle / "models" / "float32.onnx").write_bytes(colour_onnx())
    manifest = Bundle.open(colour_bundle).manifest
    tensors = colour_bundle / "golden" / "tensors.npz"
    golden = GoldenTensors.read(tensors, variants=("tflite-float32",))
    raw = load_engine("onnxruntime", colour_bundle / "models" / "float32.onnx").infer(golden.inputs)
    GoldenTensors(
        frames=golden.frames,
        frame_inputs=golden.frame_inputs,
        inputs=golden.inputs,
        reference=golden.reference,
        raw={**golden.raw, "onnx-float32": raw},
        probabilities={**golden.probabilities, "onnx-float32": raw},
    ).write(tensors)
    first = manifest.variants[0]
    second = first.model_copy(
        update={"format": "onnx", "file": entry(colour_bundle, "models/float32.onnx")}
    )
    recorded = manifest.golden.model_copy(
        update={"tensors": entry(colour_bundle, "golden/tensors.npz")}
    )
    reseal(
        colour_bundle,
        manifest.model_copy(update={"variants": (first, second), "golden": recorded}),
    )
    return colour_bundle
