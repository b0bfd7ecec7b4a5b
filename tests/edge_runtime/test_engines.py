"""Engines and their peers run the same file and say with what they ran it."""

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.engines import (
    ENGINES,
    PEERS,
    installed_engines,
    is_installed,
    load_engine,
    matrix_engines,
)
from edge_runtime.engines.onnx_file import read_specs
from edge_runtime.errors import EngineError, EngineMissingError, TensorError
from edge_runtime.golden import GoldenTensors


def inputs(bundle: Path) -> np.ndarray:
    return GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=()).inputs


def softmax_of_means(pictures: np.ndarray) -> np.ndarray:
    """What the colour model answers, in float64."""
    logits = pictures.astype(np.float64).mean(axis=(1, 2)) / 16
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", [*ENGINES, *PEERS])
def test_every_engine_answers_what_the_model_says(twin_bundle: Path, name: str):
    entry = {**ENGINES, **PEERS}[name]
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: pip install {entry.install}")
    engine = load_engine(name, twin_bundle / "models" / f"float32.{entry.format}", threads=1)
    pictures = inputs(twin_bundle)
    raw = engine.infer(pictures)
    assert raw.dtype == np.float32
    assert engine.name == name
    np.testing.assert_allclose(raw, softmax_of_means(pictures), atol=1e-5)
    with pytest.raises(TensorError, match="uint8"):
        engine.infer(pictures.astype(np.float32))
    with pytest.raises(TensorError, match="shape"):
        engine.infer(pictures[:, 1:])


def test_peers_never_answer_a_camera():
    for form in ("tflite", "onnx"):
        assert not set(installed_engines(form)) & set(PEERS)
        assert set(installed_engines(form)) <= set(matrix_engines(form))
    assert {n for form in ("tflite", "onnx") for n in matrix_engines(form)} == {*ENGINES, *PEERS}


def test_the_version_names_the_kernels(colour_bundle: Path):
    model = colour_bundle / "models" / "float32.tflite"
    kernels = {
        name: load_engine(name, model).version.partition(" ")[2]
        for name in ("litert", "litert-builtin", "litert-reference")
    }
    assert kernels == {
        "litert": "XNNPACK",
        "litert-builtin": "built-in",
        "litert-reference": "reference",
    }


def int16_answering(model: bytes) -> bytes:
    """The colour model with its probabilities quantised to int16, as an int16x8 file has them."""
    made = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    graph = made.subgraphs[0]
    output = schema.TensorT()
    output.name, output.shape, output.type, output.buffer = b"steps", [1, 3], 7, 0
    output.quantization = schema.QuantizationParametersT()
    output.quantization.scale, output.quantization.zeroPoint = [2.0**-15], [0]
    graph.tensors.append(output)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    made.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(made.operatorCodes) - 1
    operator.inputs, operator.outputs = graph.outputs, [len(graph.tensors) - 1]
    graph.operators.append(operator)
    graph.outputs = operator.outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("name", ["litert", "litert-builtin", "litert-reference"])
def test_int16_answers_are_dequantised(colour_bundle: Path, name: str):
    model = colour_bundle / "models" / "float32.tflite"
    model.write_bytes(int16_answering(model.read_bytes()))
    engine = load_engine(name, model, threads=1)
    raw = engine.infer(inputs(colour_bundle))
    assert (engine.output.dtype, raw.dtype) == (np.int16, np.int16)
    want = softmax_of_means(inputs(colour_bundle))
    np.testing.assert_allclose(engine.dequantize(raw), want, atol=2.0**-15)


def test_a_quantised_file_of_an_old_opset_runs_on_the_reference(tmp_path: Path, onnx_bytes):
    """The evaluator of onnx 1.23 has no DequantizeLinear for opset 17."""
    file = tmp_path / "int8.onnx"
    file.write_bytes(onnx_bytes(quantized=True))
    pictures = np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    answers = [
        load_engine(name, file).infer(pictures) for name in ("onnxruntime", "onnx-reference")
    ]
    np.testing.assert_allclose(*answers, atol=1e-6)
    assert not np.allclose(answers[0], softmax_of_means(pictures), atol=1e-4)  # it is quantised


def saturating_onnx(channels: int) -> bytes:
    """Weights and pixels as large as int8 and uint8 hold: each answer is 255 times `channels`."""
    onnx = pytest.importorskip("onnx")
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    info = onnx.helper.make_tensor_value_info
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "weight": np.full((8, channels, 1, 1), 127, np.int8),
        "weight_step": np.float32(1 / 127),
        "weight_zero": np.int8(0),
        "answer_step": np.float32(channels),
    }
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["levels"]),
        node("DequantizeLinear", ["levels", "one", "zero"], ["value"]),
        node("DequantizeLinear", ["weight", "weight_step", "weight_zero"], ["kernel"]),
        node("Conv", ["value", "kernel"], ["sum"]),
        node("QuantizeLinear", ["sum", "answer_step", "zero"], ["sum_levels"]),
        node("DequantizeLinear", ["sum_levels", "answer_step", "zero"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "saturating",
        [info("x", 1, ["batch", channels, 4, 4])],
        [info("y", 1, ["batch", 8, 4, 4])],
        [tensor(value, name) for name, value in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def test_sums_of_bytes_do_not_saturate(tmp_path: Path):
    """On x86 without VNNI onnxruntime answers about half of it by default."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "x.onnx").write_bytes(saturating_onnx(32))
    engine = load_engine("onnxruntime", tmp_path / "x.onnx")
    answers = engine.infer(np.full((1, 32, 4, 4), 255, np.float32))
    np.testing.assert_allclose(answers, 255 * 32)


@pytest.mark.parametrize("name", ["onnx-reference", "opencv-dnn", "onnxruntime"])
@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"x" * 1000])
def test_a_file_that_is_no_model_is_one_clear_line(tmp_path: Path, name: str, data: bytes):
    file = tmp_path / "x.onnx"
    file.write_bytes(data)
    with pytest.raises(EngineError, match=r"x\.onnx"):
        load_engine(name, file)


def test_what_a_file_takes_is_read_without_onnx(tmp_path: Path, onnx_bytes):
    file = tmp_path / "x.onnx"
    for batch in ("batch", 1):
        file.write_bytes(onnx_bytes(batch=batch))
        taken, (answered,) = read_specs(file)
        assert (taken.name, taken.shape, taken.dtype) == ("image", (16, 16, 3), np.uint8)
        assert (answered.name, answered.shape) == ("probabilities", (3,))
        assert answered.dtype == np.float32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_onnx_file_is_an_engine_error_or_still_one(
    tmp_path: Path, onnx_bytes: Callable[..., bytes], data: st.DataObject
):
    whole = bytearray(onnx_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "x.onnx"
    file.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        taken, answered = read_specs(file)
    except EngineError:
        return
    assert all(side > 0 for spec in (taken, *answered) for side in spec.shape)


def test_an_unknown_engine_is_named_with_the_known(tmp_path: Path):
    with pytest.raises(EngineError, match=r"tensorrtx.*litert.*opencv-dnn"):
        load_engine("tensorrtx", tmp_path / "x")


def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, onnx_bytes: Callable[..., bytes]
):
    import sys

    (tmp_path / "x.onnx").write_bytes(onnx_bytes())
    monkeypatch.delitem(sys.modules, "edge_runtime.engines.onnx_reference", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineMissingError, match="pip install onnx"):
        load_engine("onnx-reference", tmp_path / "x.onnx")
