"""Every variant in the runtime it targets, against the trained Keras model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import float_graphs
from converters.errors import ConversionError
from converters.export_head import EXPORTED
from converters.gates import gates
from converters.subject import Subject, prepare
from converters.tflite import quantize as quantize_tflite
from converters.tflite.calibration import Calibration
from converters.tflite.graph import TfliteGraph
from converters.tflite.probe import TensorProbe
from converters.variants import RECIPES, Ingredients, choose
from edge_runtime.engines import load_engine
from edge_runtime.head import Head
from edge_runtime.parity import compare


@pytest.fixture(scope="module")
def subjects(trained: dict[int, Path]) -> dict[int, Subject]:
    return {
        labels: prepare(run, data=None, samples=120, calibration=100, seed=0)
        for labels, run in trained.items()
    }


@pytest.fixture(scope="module")
def ingredients(subjects: dict[int, Subject]) -> dict[int, Ingredients]:
    return {
        labels: Ingredients(
            model=subject.model,
            head=subject.record.head,
            name="colours",
            labels=subject.record.labels,
            preprocess=subject.record.preprocess,
            pixels=subject.calibration.inputs,
        )
        for labels, subject in subjects.items()
    }


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_variant_keeps_its_gate(tmp_path: Path, subjects, ingredients, recipe, labels):
    subject = subjects[labels]
    file = tmp_path / f"model.{recipe.format}"
    file.write_bytes(recipe.file(ingredients[labels]))
    engine = load_engine({"tflite": "litert", "onnx": "onnxruntime"}[recipe.format], file)
    raw = engine.infer(subject.held_out.inputs)  # a whole batch at once
    answers = EXPORTED.probabilities(engine.dequantize(raw))
    parity = compare(subject.reference, answers, subject.held_out.labels)
    assert gates()[recipe.precision].judge(parity).missed == ()
    assert parity.reference_accuracy > 0.9  # of a model that has learned something
    one_by_one = np.concatenate([engine.infer(p[np.newaxis]) for p in subject.held_out.inputs[:5]])
    assert np.abs(engine.dequantize(one_by_one) - engine.dequantize(raw[:5])).max() < 1e-5


@pytest.mark.parametrize("labels", [2, 3])
def test_int8_is_integers_from_end_to_end(ingredients, labels: int):
    graph = TfliteGraph(quantize_tflite.int8(ingredients[labels].calibration))
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT32"}
    assert "CAST" not in graph.operator_names()
    assert "DEQUANTIZE" not in graph.operator_names()
    # uint8 to int8 at one end and back at the other, each step staying a step
    assert graph.operator_names().count("QUANTIZE") == 2
    assert (graph.dtype(graph.input), graph.dtype(graph.output)) == ("UINT8", "UINT8")


@pytest.mark.parametrize("labels", [2, 3])
def test_int16x8_is_integers_from_end_to_end(ingredients, labels: int):
    graph = TfliteGraph(quantize_tflite.int16x8(ingredients[labels].calibration))
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT16", "INT32", "INT64"}
    assert graph.dtype(graph.output) == "INT16"
    assert not {"CAST", "DEQUANTIZE"} & set(graph.operator_names())


def test_int8_keeps_all_256_pixel_levels(tmp_path: Path, ingredients):
    file = tmp_path / "int8.tflite"
    file.write_bytes(quantize_tflite.int8(ingredients[3].calibration))
    spec = load_engine("litert", file).input
    assert spec.dtype == np.uint8
    assert spec.scale == pytest.approx(1 / 127.5)
    assert spec.zero_point == 128


def test_a_one_number_tensor_gets_its_real_range(ingredients):
    """The quantiser's own averaging gave a two-class logit no range at all: one class, always."""

    model, pixels = ingredients[2].model, ingredients[2].pixels
    graph = TfliteGraph(quantize_tflite.int8(ingredients[2].calibration))
    softmax = next(node for node in graph.nodes() if node.code == "SOFTMAX")
    step = float(graph.scales(softmax.inputs[0]).ravel()[0])
    levels = np.array([[-128], [127]], np.int8)
    low, high = graph.dequantised(softmax.inputs[0], levels).ravel()
    p = np.clip(np.asarray(model(pixels, training=False), np.float64), 1e-6, 1 - 1e-6)
    halves = np.log(p / (1 - p)) / 2  # the two units hold minus and plus half the logit
    assert np.ptp(halves) > 1  # both classes are there
    assert low <= -np.abs(halves).max() + 2 * step
    assert high >= np.abs(halves).max() - 2 * step


def test_no_shape_is_computed_at_run_time(ingredients):
    operators = TfliteGraph(ingredients[3].tflite).operator_names()
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(operators)
    assert "RESHAPE" in operators


def test_weights_are_aligned_as_the_schema_asks(ingredients):
    from ai_edge_litert import schema_py_generated as schema

    for data in (
        ingredients[3].tflite,
        quantize_tflite.float16(ingredients[3].calibration),
        RECIPES[3].file(ingredients[3]),
    ):
        model = schema.Model.GetRootAs(data, 0)
        buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
        big = [b for b in buffers if b.DataLength() >= 16]
        assert big
        for buffer in big:
            assert buffer.Offset() == 0  # inside the flatbuffer, where every runtime looks
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8", "int16x8"])
def test_nothing_is_in_the_file_that_nobody_reads(ingredients, precision: str):
    from ai_edge_litert import schema_py_generated as schema

    recipe = next(r for r in RECIPES if r.name == f"tflite-{precision}")
    model = schema.ModelT.InitFromPackedBuf(recipe.file(ingredients[3]), 0)
    read = {t.buffer for t in model.subgraphs[0].tensors} | {m.buffer for m in model.metadata}
    assert {i for i, b in enumerate(model.buffers) if b.data is not None} <= read
    assert model.buffers[0].data is None  # by the schema, what has no data


def test_the_onnx_file_is_valid_with_a_free_batch(ingredients):
    import onnx

    model = onnx.load_from_string(ingredients[3].onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["probabilities"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_a_file_alone_says_what_it_is_for(ingredients, format_: str):
    [recipe] = choose([f"{format_}-float32"]).recipes
    assert b"whether it shows blue, green or red." in recipe.file(ingredients[3])


def scaled(*scaling: Any, first: Any = None) -> Any:
    """A small model behind some scaling of pixels."""
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(4)
    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    for layer in scaling:
        x = layer(x)
    x = (first or keras.layers.Conv2D(6, 3))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, "softmax")(x))


def any_pixels(count: int = 40) -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("recipe", [quantize_tflite.int8, quantize_tflite.int16x8])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_zero_between_two_levels_moves_into_the_first_bias(tmp_path: Path, recipe, kind: str):
    """Pixels from -1 to 1, as most Keras models take them: 0 is level 127.5.

    With padding, because TensorFlow's converter itself moves the scaling into a layer without.
    """
    from converters.keras_quiet import keras

    layers = keras.layers
    layer = {"conv": layers.Conv2D, "depthwise": layers.DepthwiseConv2D}[kind]
    first = layer(*([6] if kind == "conv" else []), kernel_size=3, padding="same")
    model = scaled(layers.Rescaling(1 / 127.5, offset=-1), first=first)
    calibration = Calibration(float_graphs.tflite_from_keras(model), any_pixels())
    assert round(calibration.affine.zero_point, 6) in (127, 128)
    pixels = any_pixels()
    core = TensorProbe(calibration.core, {TfliteGraph(calibration.core).output: "answer"})
    scale, offset = calibration.affine.scale, calibration.affine.offset
    inputs = (pixels * np.float32(scale) + np.float32(offset)).astype(np.float32)
    moved = np.concatenate([core.run(picture[np.newaxis])["answer"] for picture in inputs])
    want = np.asarray(model(pixels, training=False))
    # Half a level at the border, where padding is 0, is all that differs.
    np.testing.assert_allclose(moved, want, atol=2e-3)
    file = tmp_path / "x.tflite"
    file.write_bytes(recipe(calibration))
    engine = load_engine("litert", file)
    assert np.abs(engine.dequantize(engine.infer(pixels)) - want).max() < 0.02


def test_zero_between_two_levels_is_refused_where_nothing_takes_it_up():
    from converters.keras_quiet import keras

    first = keras.layers.MaxPooling2D()
    model = scaled(keras.layers.Rescaling(1 / 127.5, offset=-1), first=first)
    calibration = Calibration(float_graphs.tflite_from_keras(model), any_pixels(2))
    with pytest.raises(ConversionError, match=r"pixel level 127\.5"):
        quantize_tflite.int8(calibration)


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
@pytest.mark.parametrize("recipe", [quantize_tflite.int8, quantize_tflite.int16x8])
def test_channels_scaled_one_by_one_are_rounded_once(tmp_path: Path, recipe, scale: float):
    from converters.keras_quiet import keras

    # ImageNet's, of torchvision.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    unit = 255 * scale
    scaling = keras.layers.Normalization(mean=mean * unit, variance=(std * unit) ** 2)
    first = keras.layers.Conv2D(6, 3, padding="same")
    model = scaled(keras.layers.Rescaling(scale), scaling, first=first)
    pixels = any_pixels()
    calibration = Calibration(float_graphs.tflite_from_keras(model), pixels)
    file = tmp_path / "x.tflite"
    file.write_bytes(recipe(calibration))
    engine = load_engine("litert", file)
    want = np.asarray(model(pixels, training=False))
    assert np.abs(engine.dequantize(engine.infer(pixels)) - want).max() < 0.02
    assert TfliteGraph(file.read_bytes()).operator_names()[:3] == ["QUANTIZE", "CONV_2D", "CONV_2D"]
    assert quantize_tflite.float16(calibration)


def test_a_model_with_attention_answers_numbers(tmp_path: Path):
    """Through `from_concrete_functions` such a model answered NaN without a word."""
    from converters.keras_quiet import keras

    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.Reshape((64, 3))(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(x))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    file = tmp_path / "attention.tflite"
    file.write_bytes(float_graphs.tflite_from_keras(model))
    answers = Head(kind="softmax").probabilities(load_engine("litert", file).infer(pixels))
    parity = compare(np.asarray(model(pixels)), answers)
    assert gates()["float32"].judge(parity).missed == ()


def test_an_unknown_variant_suggests_the_near_one():
    with pytest.raises(ConversionError, match="Did you mean 'tflite-int8'"):
        choose(["tflite-int9"])


def test_c_brings_the_file_it_is_made_of():
    choice = choose(["c"])
    assert [r.name for r in choice.recipes] == ["tflite-int8"]
    assert choice.c_source
    assert not choose(["tflite-int8"]).c_source


def test_devices_and_converters_name_the_same_variants():
    from devices.profiles import EXPORTS, VARIANTS

    assert tuple(r.name for r in RECIPES) == VARIANTS
    assert (*VARIANTS, "c") == EXPORTS
