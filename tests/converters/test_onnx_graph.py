"""The float ONNX graph: what is in it, how it is named, and that it still answers the same."""

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters import float_graphs
from converters.errors import ConversionError
from converters.keras_quiet import keras
from converters.onnx.graph import OnnxGraph, with_metadata
from converters.onnx.tidy import sink_transposes, tidy
from converters.tflite.large_weights import without_large_weights
from edge_runtime.engines import load_engine
from edge_runtime.preprocess import Preprocess
from trainer.architectures import ARCHITECTURES, ModelSpec

# Those of pictures; of clips: tests/end_to_end/test_clips.py.
OF_PICTURES = [name for name, row in ARCHITECTURES.items() if not row.frames]
SIDES = dict.fromkeys(OF_PICTURES, 64) | {"article_cnn": 40, "resnet8": 32}
CONVOLUTIONAL = [name for name in OF_PICTURES if name != "compact_transformer"]


def alive(model: Any) -> Any:
    """Random weights that let a picture through: batch statistics as if it had been trained."""
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        for weight in layer.weights:
            if weight.name in ("gamma", "beta", "bias"):
                weight.assign(rng.normal(weight.name == "gamma", 0.2, weight.shape))
    model(rng.integers(0, 256, (8, *model.input_shape[1:]), dtype=np.uint8), training=True)
    return model


@pytest.fixture(scope="module")
def shipped() -> Callable[[str], tuple[Any, bytes]]:
    """Each shipped architecture with three labels, and its ONNX file; made once."""
    made: dict[str, tuple[Any, bytes]] = {}

    def build(name: str) -> tuple[Any, bytes]:
        if name not in made:
            keras.utils.set_random_seed(7)
            spec = ModelSpec((SIDES[name], SIDES[name]), 3, 0.35, "none")
            model = alive(ARCHITECTURES[name].build(spec))
            tflite = float_graphs.tflite_from_keras(model)
            made[name] = model, float_graphs.onnx_from_tflite(tflite)
        return made[name]

    return build


def pictures(side: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def answers(onnx_model: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": pixels})[0])


@pytest.mark.parametrize("name", OF_PICTURES)
def test_it_answers_as_the_keras_model(shipped, name: str):
    model, made = shipped(name)
    pixels = pictures(SIDES[name])
    want = np.asarray(model(pixels, training=False))
    assert want.std(axis=0).max() > 1e-3  # the pictures get through
    assert np.abs(answers(made, pixels) - want).max() < 5e-5


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_one_transpose_is_left_and_no_reshape(shipped, name: str):
    counts = Counter(node.op_type for node in OnnxGraph(shipped(name)[1]).nodes)
    assert counts["Transpose"] == 1  # pixels are NHWC, convolutions NCHW
    assert counts["Cast"] == 1
    assert counts["Flatten"] == 1
    assert not counts.keys() & {"Reshape", "Squeeze", "ReduceMean", "MatMul", "Identity"}
    assert counts["Gemm"] == len(
        [layer for layer in shipped(name)[0].layers if "Dense" in repr(type(layer))]
    )


def test_attention_moves_heads_and_nothing_else(shipped):
    """For each of four blocks: heads of query, key, value and answer, and keys for the product."""
    counts = Counter(node.op_type for node in OnnxGraph(shipped("compact_transformer")[1]).nodes)
    assert counts["MatMul"] == 4 * 8
    assert counts["Softmax"] == 4 + 1
    assert counts["Transpose"] == 1 + 4 * 5 + 1
    assert counts["Reshape"] == 4 * 4 + 1
    assert not counts.keys() & {"Squeeze", "Identity", "Erf", "Gather", "Shape", "Slice"}


@pytest.mark.parametrize("name", OF_PICTURES)
def test_nodes_are_named_after_layers(shipped, name: str):
    model, made = shipped(name)
    layers = {layer.name for layer in model.layers}
    graph = OnnxGraph(made)
    names = [node.name for node in graph.nodes]
    assert len(set(names)) == len(names)
    strange = {n for n in names if n.partition("/")[0] not in layers}
    # MobileNetV3 and the transformer's GELU multiply with a plain `*`: Keras has no layer for it.
    # What scales the pixels keeps its name where padding stands before the first convolution.
    assert {n.partition("_")[0] for n in strange} <= {"Mul", "Sigmoid", "Cast"}
    every = {*names, *graph.constants, *(t for node in graph.nodes for t in node.output)}
    assert not [n for n in every if ";" in n or " " in n or "__" in n]
    for node in graph.nodes:
        if node.op_type == "Conv":
            assert node.input[1] == f"{node.name}/weight"
            kernel = model.get_layer(node.name).kernel
            assert np.prod(kernel.shape) == graph.constants[node.input[1]].size


@pytest.mark.parametrize("name", OF_PICTURES)
def test_the_file_is_what_a_reader_expects(shipped, name: str):
    model = onnx.load_model_from_string(shipped(name)[1])
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    (source,), (target,) = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("image", "probabilities")
    assert source.type.tensor_type.elem_type == TensorProto.UINT8
    assert target.type.tensor_type.elem_type == TensorProto.FLOAT
    shapes = OnnxGraph(model).shapes()
    assert shapes["image"] == ("batch", SIDES[name], SIDES[name], 3)
    assert {shape[0] for shape in shapes.values()} == {"batch"}
    known = {v.name for v in model.graph.value_info} | {"probabilities"}
    assert known == {t for node in model.graph.node for t in node.output}


def test_pixels_reach_the_first_convolution_as_whole_numbers(shipped):
    graph = OnnxGraph(shipped("mobilenet_v2")[1])
    pixels = graph.pixel_scaling()
    assert pixels is not None
    assert (float(pixels.scale), float(pixels.offset)) == (1.0, -128.0)
    assert graph.only_user(pixels.tensor).op_type == "Conv"


def test_the_same_model_gives_the_same_bytes(shipped):
    model, made = shipped("article_cnn")
    again = float_graphs.onnx_from_tflite(float_graphs.tflite_from_keras(model))
    assert made == again


def converted(body: Callable[[Any], Any], side: int = 12) -> tuple[Any, bytes]:
    keras.utils.set_random_seed(2)
    image = keras.Input((side, side, 3), dtype="uint8", name="image")
    model = keras.Model(image, body(image))
    return model, float_graphs.onnx_from_tflite(float_graphs.tflite_from_keras(model))


def test_a_level_that_is_not_whole_stays_what_it_is():
    def body(x: Any) -> Any:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
        x = keras.layers.Conv2D(4, 3, padding="same")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.layers.Dense(3, "softmax")(x)

    model, made = converted(body)
    assert float(OnnxGraph(made).pixel_scaling().offset) == pytest.approx(-127.5, abs=1e-4)
    pixels = pictures(12)
    assert np.abs(answers(made, pixels) - np.asarray(model(pixels))).max() < 1e-6


def test_scaling_for_each_channel_goes_into_the_weights():
    mean, variance = np.array([120.0, 110.0, 100.0]), np.array([900.0, 1600.0, 2500.0])

    def body(x: Any) -> Any:
        x = keras.layers.Normalization(mean=mean, variance=variance)(x)
        x = keras.layers.Conv2D(4, 3, strides=2)(x)
        return keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(x))

    model, made = converted(body)
    assert np.allclose(OnnxGraph(made).pixel_scaling().offset, -mean)
    pixels = pictures(12)
    assert np.abs(answers(made, pixels) - np.asarray(model(pixels))).max() < 1e-5


def test_attention_and_other_shapes_survive():
    def body(x: Any) -> Any:
        x = keras.layers.Rescaling(1 / 255)(x)
        x = keras.layers.Activation("hard_silu")(keras.layers.Conv2D(8, 4, strides=4)(x))
        x = keras.layers.Reshape((9, 8))(x)
        x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)])
        x = keras.layers.LayerNormalization()(x)
        return keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling1D()(x))

    model, made = converted(body)
    pixels = pictures(12)
    assert np.abs(answers(made, pixels) - np.asarray(model(pixels))).max() < 1e-6


def test_what_tf2onnx_does_not_know_is_named_with_its_layer():
    def body(x: Any) -> Any:
        x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(x))
        x = keras.layers.Lambda(
            lambda t: keras.ops.slice_update(t, (0, 0, 0, 0), t[:, :1]), name="pasted"
        )(x)
        return keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x))

    with pytest.raises(ConversionError, match=r"Layer 'pasted[^']*' uses DYNAMIC_UPDATE_SLICE"):
        converted(body)


@pytest.mark.parametrize(
    ("bend", "operator"),
    [
        pytest.param(lambda t: keras.ops.gelu(t, approximate=False), "Erf", id="gelu"),
        pytest.param(lambda t: keras.ops.gelu(t, approximate=True), "Tanh", id="gelu-tanh"),
        pytest.param(lambda t: keras.ops.clip(t, -1.0, 1.0), "Clip", id="hard-tanh"),
    ],
)
def test_what_tf2onnx_passes_on_is_spelled_out(bend: Callable[[Any], Any], operator: str):
    def body(x: Any) -> Any:
        x = keras.layers.Rescaling(1 / 20, offset=-6)(x)
        x = keras.layers.Lambda(bend, name="first")(keras.layers.Conv2D(4, 3)(x))
        x = keras.layers.Lambda(bend, name="alone")(keras.layers.LayerNormalization()(x))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
        return keras.layers.Dense(3, "softmax")(x)

    model, made = converted(body)
    pixels = pictures(12)
    assert np.abs(answers(made, pixels) - np.asarray(model(pixels))).max() < 1e-6
    nodes = onnx.load_from_string(made).graph.node
    assert sum(node.op_type == operator for node in nodes) == 2
    assert {node.name.split("/")[0] for node in nodes} >= {"first", "alone"}


def small_graph(nodes: list[Any], constants: dict[str, np.ndarray], side: int = 4) -> OnnxGraph:
    """Float NHWC in, float of the shape that the nodes make out."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return OnnxGraph(onnx.shape_inference.infer_shapes(model))


def run_small(graph: OnnxGraph, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_transposes_cancel_through_a_branch_with_a_constant():
    per_channel = np.arange(3, dtype=np.float32)
    per_row = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["a"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("HardSwish", ["b"], ["d"]),
        helper.make_node("Add", ["c", "channel"], ["e"]),
        helper.make_node("Mul", ["e", "row"], ["f"]),
        helper.make_node("Sub", ["d", "f"], ["g"]),
        helper.make_node("Transpose", ["g"], ["h"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    constants = {"channel": per_channel, "row": per_row}
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    graph = small_graph(nodes, constants)
    want = run_small(small_graph(nodes, constants), x)
    sink_transposes(graph)
    assert [node.op_type for node in graph.nodes].count("Transpose") == 1
    assert np.array_equal(run_small(graph, x), want)


def test_a_mean_over_rows_only_keeps_its_transpose_or_its_meaning():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[2], keepdims=0),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    graph, want = small_graph(nodes, {}), run_small(small_graph(nodes, {}), x)
    sink_transposes(graph)
    assert np.array_equal(run_small(graph, x), want)


def test_a_cycle_and_two_inputs_are_refused():
    graph = small_graph([helper.make_node("Relu", ["x"], ["y"])], {})
    graph.add_node("Relu", ["q"], "p", "first")
    graph.add_node("Relu", ["p"], "q", "second")
    with pytest.raises(ConversionError, match="cycle at node 'first'"):
        graph.to_model()
    model = small_graph([helper.make_node("Relu", ["x"], ["y"])], {}).to_model()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    with pytest.raises(ConversionError, match="2 inputs and 1 outputs"):
        OnnxGraph(model)
    with pytest.raises(ConversionError, match="cannot be read"):
        OnnxGraph(b"no model")


def test_an_invalid_edit_is_refused():
    graph = small_graph([helper.make_node("Relu", ["x"], ["y"])], {})
    graph.nodes[0].input[0] = "nothing"
    with pytest.raises(ConversionError, match="not valid"):
        graph.to_bytes()


def test_tidy_gives_layers_without_a_counter_their_name():
    """TensorFlow counts layers up in a second trace; in a first one, `conv_1` is a name."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="model/conv_1/Relu"),
        helper.make_node("Neg", ["a"], ["y"], name="model/last/Neg"),
    ]
    graph = small_graph(nodes, {})
    tidy(graph, input_name="image", output_names=["probabilities"])
    assert [node.name for node in graph.nodes] == ["conv_1", "probabilities"]


def test_metadata_tells_a_stranger_everything(shipped, tmp_path: Path):
    made = shipped("article_cnn")[1]
    preprocess = Preprocess(width=40, height=40, fit="letterbox")
    arguments = {
        "name": "pets",
        "labels": ("cat", "dog", "zèbre"),
        "preprocess": preprocess,
        "precision": "float32",
        "description": "Pets at the door",
    }
    told = with_metadata(made, **arguments)
    assert told == with_metadata(made, **arguments)
    file = tmp_path / "m.onnx"
    file.write_bytes(told)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta()
    properties = meta.custom_metadata_map
    assert json.loads(properties["labels"]) == ["cat", "dog", "zèbre"]
    assert Preprocess.model_validate_json(properties["preprocess"]) == preprocess
    assert ast.literal_eval(properties["names"]) == dict(enumerate(arguments["labels"]))
    assert ast.literal_eval(properties["imgsz"]) == [40, 40]
    assert properties["precision"] == "float32"
    assert meta.producer_name == "edgeproof"
    assert meta.graph_name == "pets"
    assert "uint8, (batch, 40, 40, 3), RGB" in meta.description
    pixels = pictures(40)
    assert np.array_equal(load_engine("onnxruntime", file).infer(pixels), answers(made, pixels))


def test_large_dense_weights_go_around_tf2onnx(shipped):
    model, made = shipped("article_cnn")
    tflite = float_graphs.tflite_from_keras(model)
    smaller, weights = without_large_weights(tflite)
    (large,) = weights.values()
    # Keras numbers its layers on through a process: which names these are depends on other tests.
    dense = next(x for x in model.layers if "dense" in x.name)
    last_map = [x for x in model.layers if "max_pooling2d" in x.name][-1]
    kernel = dense.kernel.numpy()
    assert np.array_equal(large, kernel.T)
    assert len(smaller) < len(tflite) - large.nbytes + 1000
    rows = OnnxGraph(made).constants[f"{dense.name}/weight"]
    # Keras flattens channels last, ONNX channels first.
    height, width, channels = (int(n) for n in last_map.output.shape[1:])
    turned = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    assert np.array_equal(rows, turned.reshape(rows.shape))
    without = float_graphs.tflite_from_keras(shipped("mobilenet_v2")[0])
    assert without_large_weights(without) == (without, {})


def test_large_filters_go_around_tf2onnx():
    from converters.keras_quiet import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    for filters, side in ((512, 1), (512, 1), (64, 3)):
        x = layers.Conv2D(filters, side, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(2, "softmax", name="probabilities")(x))
    tflite = float_graphs.tflite_from_keras(model)
    _, weights = without_large_weights(tflite)
    assert sorted(v.shape for v in weights.values()) == [(64, 3, 3, 512), (512, 1, 1, 512)]
    made = float_graphs.onnx_from_tflite(tflite)
    operators = [node.op_type for node in OnnxGraph(made).nodes]
    assert "Reshape" not in operators  # a weight behind one would not be quantised
    assert operators.count("Transpose") == 1  # of the picture
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert np.allclose(answers(made, pixels), model(pixels), atol=1e-6)
