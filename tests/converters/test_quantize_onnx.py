"""float16 and int8 ONNX files: what is in them, and that they answer as the float file does."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from converters import float_graphs
from converters.errors import ConversionError
from converters.histogram import Range
from converters.keras_quiet import keras
from converters.onnx import quantize as quantize_onnx
from converters.onnx.graph import OnnxGraph
from converters.onnx.quantize import Scheme
from converters.onnx.ranges import observe
from converters.quantisation_plan import CalibrationMethod
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess

SCHEMES = get_args(Scheme)
METHODS = get_args(CalibrationMethod)


class Trained:
    """A tiny trained model's float ONNX file, with pictures that training saw and did not see."""

    def __init__(self, run: Path) -> None:
        record = json.loads((run / "training.json").read_text())
        preprocess = Preprocess.model_validate(record["preprocess"])

        def inputs(split: str) -> np.ndarray:
            root = Path(record["data"]["root"])
            return np.stack(
                [preprocess(decode_image(root / path)) for path, _ in record["data"][split]]
            )

        self.calibration, self.held_out = inputs("train"), inputs("test")
        model = keras.saving.load_model(run / "model.keras")
        self.onnx = float_graphs.onnx_from_tflite(float_graphs.tflite_from_keras(model))
        self.answers = answers(self.onnx, self.held_out)


@pytest.fixture(scope="module")
def models(trained: dict[int, Path]) -> dict[int, Trained]:
    return {labels: Trained(run) for labels, run in trained.items()}


def answers(onnx_model: bytes, pixels: np.ndarray, output: str = "probabilities") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    # As our engine does, or sums saturate on x86 without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"image": pixels})[0])


def with_output(onnx_model: bytes, tensor: str) -> bytes:
    """The same file, answering another float tensor too."""
    model = onnx.load_model_from_string(onnx_model)
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def classes(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.shape[1] == 1:
        return probabilities[:, 0] > 0.5
    return probabilities.argmax(axis=1)


def require_valid(onnx_model: bytes) -> None:
    model = onnx.load_model_from_string(onnx_model)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("labels", [2, 3])
def test_float16_answers_as_float32(models, labels: int):
    made = quantize_onnx.float16(models[labels].onnx)
    require_valid(made)
    found = answers(made, models[labels].held_out)
    assert 0 < np.abs(found - models[labels].answers).max() < 5e-3
    assert len(made) < 0.6 * len(models[labels].onnx)


def test_float16_has_no_needless_cast(models):
    graph = OnnxGraph(quantize_onnx.float16(models[3].onnx))
    assert Counter(node.op_type for node in graph.nodes)["Cast"] == 2  # pixels in, logits out
    dtypes = {values.dtype.name for values in graph.constants.values()}
    assert dtypes == {"float16"}
    head = graph.producer("probabilities")
    assert graph.dtypes()[head.input[0]] == TensorProto.FLOAT


def test_float16_keeps_named_nodes_in_float32(models):
    graph = OnnxGraph(models[3].onnx)
    first, second = [n.name for n in graph.nodes if n.op_type == "Conv"]
    made = quantize_onnx.float16(models[3].onnx, keep=frozenset({second}))
    require_valid(made)
    kept = OnnxGraph(made)
    assert kept.constants[f"{first}/weight"].dtype == np.float16
    assert kept.constants[f"{second}/weight"].dtype == np.float32
    assert Counter(node.op_type for node in kept.nodes)["Cast"] == 4  # into it and out of it
    everything = frozenset(node.name for node in graph.nodes)
    whole = quantize_onnx.float16(models[3].onnx, keep=everything)
    assert np.array_equal(answers(whole, models[3].held_out), models[3].answers)
    assert Counter(node.op_type for node in OnnxGraph(whole).nodes)["Cast"] == 1


def test_float16_has_no_infinite_weight():
    """A weight beyond 65504 becomes the largest number, not infinity."""
    graph = plain_graph(np.full((3, 3, 1, 1), 1e6, np.float32))
    made = OnnxGraph(quantize_onnx.float16(graph.to_bytes()))
    assert made.constants["w"].dtype == np.float16
    assert made.constants["w"].max() == np.finfo(np.float16).max


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_int8_answers_as_float32(models, scheme: Scheme, labels: int):
    trained = models[labels]
    made = quantize_onnx.int8(trained.onnx, trained.calibration, scheme=scheme)
    require_valid(made)
    found = answers(made, trained.held_out)
    assert (classes(found) == classes(trained.answers)).mean() > 0.97
    assert 0 < np.abs(found - trained.answers).mean() < 0.02
    graph = OnnxGraph(made)
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (graph.constants[t] for t in node.input[1:3])
            assert scale.shape == zero.shape, node.name


@pytest.mark.parametrize("file", ["float32", "float16", *SCHEMES])
def test_the_standards_own_evaluator_agrees_with_onnxruntime(models, file: str):
    trained = models[2]
    if file == "float32":
        made = trained.onnx
    elif file == "float16":
        made = quantize_onnx.float16(trained.onnx)
    else:
        made = quantize_onnx.int8(trained.onnx, trained.calibration[:40], scheme=file)
    model = onnx.load_model_from_string(made)
    # onnx's evaluator has no DequantizeLinear of 13, which 19 only adds types to.
    model.opset_import[0].version = 19
    few = trained.held_out[:4]
    found = ReferenceEvaluator(model).run(None, {"image": few})[0]
    # int8: a value half-way between two levels may fall either way.
    tolerance = {"float32": 1e-5, "float16": 5e-3}.get(file, 0.03)
    assert np.abs(found - answers(made, few)).max() < tolerance


def first_quantized(graph: OnnxGraph) -> Any:
    """The first DequantizeLinear that pixels go through."""
    return next(
        node
        for node in graph.nodes
        if node.op_type == "DequantizeLinear" and node.input[0] not in graph.constants
    )


def all_levels(side: int) -> np.ndarray:
    pixels = np.arange(side * side * 3) % 256
    return pixels.reshape(1, side, side, 3).astype(np.uint8)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_256_pixel_levels_stay_256(models, scheme: Scheme):
    trained = models[3]
    made = quantize_onnx.int8(trained.onnx, trained.calibration[:4], scheme=scheme)
    tensor = first_quantized(OnnxGraph(made)).output[0]
    pixels = all_levels(trained.held_out.shape[1])
    seen = answers(with_output(made, tensor), pixels, tensor)
    assert len(np.unique(seen)) == 256
    assert np.array_equal(seen, pixels.transpose(0, 3, 1, 2).astype(np.float32) - 128)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_so_they_do_without_an_offset(scheme: Scheme):
    """Pixels from 0 to 255, as article_cnn has them: a zero point of 0 would take half of them."""
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(x)))
    source = float_graphs.onnx_from_tflite(float_graphs.tflite_from_keras(model))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    made = quantize_onnx.int8(source, pixels, scheme=scheme)
    require_valid(made)
    tensor = first_quantized(OnnxGraph(made)).output[0]
    seen = answers(with_output(made, tensor), all_levels(16), tensor)
    assert len(np.unique(seen)) == 256
    assert np.abs(answers(made, pixels) - answers(source, pixels)).max() < 0.02


def test_u8s8_takes_pixels_as_they_are(models):
    made = quantize_onnx.int8(models[3].onnx, models[3].calibration[:4], scheme="u8s8")
    graph = OnnxGraph(made)
    assert "Cast" not in {node.op_type for node in graph.nodes}
    transpose = graph.only_user("image")
    assert transpose.op_type == "Transpose"
    assert graph.only_user(transpose.output[0]).op_type == "DequantizeLinear"
    zero = graph.constants[first_quantized(graph).input[2]]
    assert (zero.dtype, int(zero)) == (np.uint8, 128)


def test_symmetric_is_what_tensorrt_takes(models):
    made = quantize_onnx.int8(models[3].onnx, models[3].calibration[:9], scheme="symmetric")
    graph = OnnxGraph(made)
    quantizers = [n for n in graph.nodes if n.op_type == "QuantizeLinear"]
    assert len(quantizers) > 6
    for node in [*quantizers, *(n for n in graph.nodes if n.op_type == "DequantizeLinear")]:
        zero = graph.constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert graph.dtypes()[node.input[0]] in (TensorProto.FLOAT, TensorProto.INT8)
    for conv in (n for n in graph.nodes if n.op_type in ("Conv", "Gemm")):
        for tensor in conv.input[:2]:
            assert graph.producer(tensor).op_type == "DequantizeLinear"
        assert graph.constants[conv.input[2]].dtype == np.float32
        assert "QuantizeLinear" not in {user.op_type for user in graph.users(conv.output[0])}


def test_s8s8_is_integers_between_pixels_and_logits(models):
    """Every convolution and dense layer stands between pairs, weights and biases are stored int."""
    graph = OnnxGraph(quantize_onnx.int8(models[3].onnx, models[3].calibration[:9]))
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm", "MaxPool"):
            assert {graph.producer(t).op_type for t in node.input} == {"DequantizeLinear"}
    large = [name for name, v in graph.constants.items() if v.dtype == np.float32 and v.ndim > 1]
    assert large == []
    head = graph.producer("probabilities")
    assert graph.producer(head.input[0]).op_type == "Gemm"  # unrounded logits


@pytest.mark.parametrize("scheme", SCHEMES)
def test_int8_keeps_named_nodes_in_float(models, scheme: Scheme):
    trained = models[3]
    conv = next(n.name for n in OnnxGraph(trained.onnx).nodes if n.op_type == "Conv")
    made = quantize_onnx.int8(
        trained.onnx, trained.calibration[:20], scheme=scheme, keep=frozenset({conv})
    )
    require_valid(made)
    graph = OnnxGraph(made)
    (node,) = [n for n in graph.nodes if n.name == conv]
    assert graph.constants[node.input[1]].dtype == np.float32
    assert "DequantizeLinear" in {n.op_type for n in graph.nodes}
    assert np.abs(answers(made, trained.held_out) - trained.answers).mean() < 0.02


def test_an_unknown_node_to_keep_suggests_the_near_one(models):
    for make in (quantize_onnx.float16, lambda m, keep: quantize_onnx.int8(m, {}, keep=keep)):
        with pytest.raises(ConversionError, match="Did you mean 'probabilities'"):
            make(models[3].onnx, keep=frozenset({"probabilites"}))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_how_far_it_is_and_is_repeatable(models, method: CalibrationMethod):
    trained, steps = models[3], list[int]()
    some = trained.calibration[:30]
    made = quantize_onnx.int8(trained.onnx, some, method=method, advance=steps.append)
    assert sum(steps) == 30
    assert (classes(answers(made, trained.held_out)) == classes(trained.answers)).mean() > 0.95
    ranges = observe(OnnxGraph(trained.onnx), some, method=method)
    assert quantize_onnx.int8(trained.onnx, ranges) == made  # and no second run is needed


def test_ranges_are_those_of_the_tensors(models):
    trained = models[2]
    graph, some = OnnxGraph(trained.onnx), trained.calibration[:20]
    ranges = observe(graph, some)
    checked = 0
    for node in graph.nodes:
        user = graph.only_user(node.output[0])
        tensor = user.output[0] if user is not None and user.op_type == "Clip" else node.output[0]
        if node.op_type in ("Conv", "MaxPool", "Gemm") and tensor != "probabilities":
            if user.op_type == "Relu":
                tensor = user.output[0]
            values = answers(with_output(trained.onnx, tensor), some, tensor)
            found = ranges[node.output[0]]
            assert found.low == pytest.approx(values.min(), abs=1e-4)
            assert found.high == pytest.approx(values.max(), abs=1e-4)
            checked += 1
    assert checked >= 6


def plain_graph(weight: np.ndarray) -> OnnxGraph:
    """uint8 pixels, one 1x1 convolution without bias, and a mean."""
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], name="turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 64, 64, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", len(weight)])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return OnnxGraph(model)


def outlier_pictures() -> np.ndarray:
    """Levels about 60, as a bell; one pixel in one picture is 255. The last is the brightest."""
    rng = np.random.default_rng(3)
    pixels = np.clip(rng.normal(60, 12, (6, 64, 64, 3)), 0, 120).astype(np.uint8)
    pixels[-1, 0, 0] = 255
    return pixels


def test_a_percentile_cuts_what_is_rare():
    graph, pixels = plain_graph(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)), outlier_pictures()
    assert observe(graph, pixels)["c"] == Range(float(pixels.min()), 255.0)
    found = observe(graph, pixels, method="percentile", percentile=99.0)["c"]
    low, high = np.percentile(pixels, [0.5, 99.5])
    assert found.low == pytest.approx(low, abs=1)
    assert found.high == pytest.approx(high, abs=1)
    assert observe(graph, pixels, method="percentile", percentile=100.0)["c"].high == 255.0


def test_entropy_cuts_an_outlier_and_not_the_bulk():
    graph, pixels = plain_graph(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)), outlier_pictures()
    found = observe(graph, pixels, method="entropy")["c"]
    assert np.percentile(pixels, 99.9) < found.high < 255


def test_ranges_do_not_depend_on_the_order_of_pictures():
    graph, pixels = plain_graph(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)), outlier_pictures()
    for method in METHODS:
        there, back = (observe(graph, p, method=method)["c"] for p in (pixels, pixels[::-1]))
        assert there.low == pytest.approx(back.low, abs=2)
        assert there.high == pytest.approx(back.high, abs=2)


def test_a_layer_that_is_not_finite_is_named():
    graph = plain_graph(np.full((3, 3, 1, 1), np.inf, np.float32))
    pixels = np.ones((1, 64, 64, 3), np.uint8)
    for method in METHODS:
        with pytest.raises(ConversionError, match="Layer 'c' answers numbers that are not finite"):
            observe(graph, pixels, method=method)


def test_no_pictures_is_an_error(models):
    with pytest.raises(ConversionError, match="no calibration picture"):
        quantize_onnx.int8(models[3].onnx, models[3].calibration[:0])
