"""Every variant in the runtime it targets, against the trained Keras model."""

from pathlib import Path

import numpy as np
import pytest

from converters import float_graphs, quantize_tflite
from converters.errors import ConversionError
from converters.flatbuffer import TfliteGraph
from converters.gates import gates
from converters.parity import compare
from converters.subject import Subject, prepare
from converters.variants import RECIPES, Ingredients, recipes
from edge_runtime.engines import load_engine
from edge_runtime.head import Head


@pytest.fixture(scope="module")
def subjects(trained: dict[int, Path]) -> dict[int, Subject]:
    return {
        labels: prepare(run, data=None, samples=120, calibration=100, seed=0)
        for labels, run in trained.items()
    }


@pytest.fixture(scope="module")
def ingredients(subjects: dict[int, Subject]) -> dict[int, Ingredients]:
    return {
        labels: Ingredients(subject.model, subject.calibration.inputs)
        for labels, subject in subjects.items()
    }


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_variant_keeps_its_gate(tmp_path: Path, subjects, ingredients, recipe, labels):
    subject = subjects[labels]
    file = tmp_path / f"model.{recipe.format}"
    file.write_bytes(recipe.make(ingredients[labels]))
    engine = load_engine({"tflite": "litert", "onnx": "onnxruntime"}[recipe.format], file)
    raw = engine.infer(subject.held_out.inputs)  # a whole batch at once
    answers = subject.record.head.probabilities(engine.dequantize(raw))
    parity = compare(subject.reference, answers, subject.held_out.labels)
    assert gates()[recipe.precision].missed(parity) == ()
    assert parity.reference_accuracy > 0.9  # of a model that has learned something
    one_by_one = np.concatenate([engine.infer(p[np.newaxis]) for p in subject.held_out.inputs[:5]])
    assert np.abs(engine.dequantize(one_by_one) - engine.dequantize(raw[:5])).max() < 1e-5


@pytest.mark.parametrize("labels", [2, 3])
def test_int8_is_integers_from_end_to_end(ingredients, labels: int):
    made = quantize_tflite.int8(ingredients[labels].tflite, ingredients[labels].calibration)
    graph = TfliteGraph(made)
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT32"}
    assert "CAST" not in graph.operator_names()
    assert "DEQUANTIZE" not in graph.operator_names()
    assert graph.operator_names().count("QUANTIZE") == 1  # uint8 to int8, the same step


def test_int8_keeps_all_256_pixel_levels(tmp_path: Path, ingredients):
    file = tmp_path / "int8.tflite"
    file.write_bytes(quantize_tflite.int8(ingredients[3].tflite, ingredients[3].calibration))
    spec = load_engine("litert", file).input
    assert spec.dtype == np.uint8
    assert spec.scale == pytest.approx(1 / 127.5)
    assert spec.zero_point == 128


def test_a_one_number_tensor_gets_its_real_range(ingredients):
    """The quantiser's own averaging gave a two-class logit no range at all: one class, always."""
    from ai_edge_litert.tools import flatbuffer_utils

    model, calibration = ingredients[2].model, ingredients[2].calibration
    made = quantize_tflite.int8(ingredients[2].tflite, calibration)
    graph = flatbuffer_utils.read_model_from_bytearray(made).subgraphs[0]
    logit = graph.tensors[graph.operators[-1].inputs[0]].quantization
    low, high = ((level - logit.zeroPoint[0]) * logit.scale[0] for level in (-128, 127))
    p = np.clip(np.asarray(model(calibration, training=False), np.float64), 1e-6, 1 - 1e-6)
    logits = np.log(p / (1 - p))
    assert np.ptp(logits) > 2  # both classes are there
    assert low <= logits.min() + 2 * logit.scale[0]
    assert high >= logits.max() - 2 * logit.scale[0]


def test_no_shape_is_computed_at_run_time(ingredients):
    operators = TfliteGraph(ingredients[3].tflite).operator_names()
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(operators)
    assert "RESHAPE" in operators


def test_weights_are_aligned_as_the_schema_asks(ingredients):
    from ai_edge_litert import schema_py_generated as schema

    for data in (
        ingredients[3].tflite,
        quantize_tflite.float16(ingredients[3].tflite),
        quantize_tflite.int8(ingredients[3].tflite, ingredients[3].calibration),
    ):
        model = schema.Model.GetRootAs(data, 0)
        buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
        big = [b for b in buffers if b.DataLength() >= 16]
        assert big
        for buffer in big:
            assert buffer.Offset() == 0  # inside the flatbuffer, where every runtime looks
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


def test_the_onnx_file_is_valid_with_a_free_batch(ingredients):
    import onnx

    model = onnx.load_from_string(ingredients[3].onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["probabilities"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_input_scaling_without_a_whole_zero_level_is_refused(ingredients):
    from converters.keras_quiet import keras

    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(x))
    tflite = float_graphs.tflite_from_keras(model)
    with pytest.raises(ConversionError, match="whole level"):
        quantize_tflite.int8(tflite, np.zeros((2, 8, 8, 3), np.uint8))


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
    assert gates()["float32"].missed(parity) == ()


def test_an_unknown_variant_suggests_the_near_one():
    with pytest.raises(ConversionError, match="Did you mean 'tflite-int8'"):
        recipes(["tflite-int9"])
