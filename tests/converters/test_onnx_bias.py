"""Bias correction of ONNX files: a shift of weights is taken back, in every way they are stored."""

from typing import Any

import numpy as np
import pytest

from converters.float_graphs import onnx_from_tflite, tflite_from_keras
from converters.onnx import quantize as quantize_onnx
from converters.onnx.bias import correct_biases
from converters.onnx.calibration import OnnxCalibration
from converters.onnx.graph import OnnxGraph
from converters.onnx.ranges import activations, sample
from converters.quantisation_plan import QuantisationPlan


@pytest.fixture(scope="module")
def exact() -> bytes:
    """A convolution, a depthwise one with two filters a channel, and a dense layer."""
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(2)
    x = image = keras.Input((12, 12, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(4, 3, name="linear")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5, name="dense")(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax", name="probabilities")(x))
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(3).normal(size=layer.bias.shape))
    return onnx_from_tflite(tflite_from_keras(model))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 12, 12, 3), dtype=np.uint8)


def outputs(data: bytes, tensor: str, pixels: np.ndarray) -> np.ndarray:
    """Mean of a tensor for each channel."""
    seen = [values[0] for values in activations(OnnxGraph(data), [tensor], pixels)]
    stacked = np.concatenate(seen)
    return stacked.mean(axis=tuple(a for a in range(stacked.ndim) if a != 1))


def weighted(graph: OnnxGraph) -> list[Any]:
    return [n for n in graph.nodes if n.op_type in ("Conv", "Gemm") and len(n.input) == 3]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_shift_is_taken_back(exact: bytes, pixels: np.ndarray, place: int):
    means = sample(OnnxGraph(exact), pixels).means
    moved = OnnxGraph(exact)
    node = weighted(moved)[place]
    moved.constants[node.input[1]] = moved.constants[node.input[1]] + np.float32(0.02)
    before = moved.to_bytes()
    mended = OnnxGraph(before)
    correct_biases(OnnxGraph(exact), mended, means)
    tensor = node.output[0]
    true = outputs(exact, tensor, pixels)
    off = np.abs(outputs(before, tensor, pixels) - true).max()
    assert off > 0.005
    assert np.abs(outputs(mended.to_bytes(), tensor, pixels) - true).max() < off / 10


def test_the_same_graph_stays_the_same(exact: bytes, pixels: np.ndarray):
    made = OnnxGraph(exact)
    correct_biases(OnnxGraph(exact), made, sample(OnnxGraph(exact), pixels).means)
    for node, twin in zip(weighted(OnnxGraph(exact)), weighted(made), strict=True):
        old, new = OnnxGraph(exact).constants[node.input[2]], made.constants[twin.input[2]]
        assert np.allclose(old, new, atol=1e-7)


@pytest.mark.parametrize("scheme", ["s8s8", "u8s8", "symmetric"])
def test_every_scheme_is_corrected(exact: bytes, pixels: np.ndarray, scheme: Any):
    calibration = OnnxCalibration(exact, pixels)
    ranges = calibration.ranges(QuantisationPlan())
    plain = quantize_onnx.int8(exact, ranges, scheme=scheme)
    corrected = quantize_onnx.int8(exact, ranges, scheme=scheme, means=calibration.sample().means)
    assert corrected != plain
    last = OnnxGraph(exact).output.name
    true = outputs(exact, last, pixels)
    assert np.abs(outputs(corrected, last, pixels) - true).max() < 0.02


def test_float16_is_corrected(exact: bytes, pixels: np.ndarray):
    means = sample(OnnxGraph(exact), pixels).means
    assert quantize_onnx.float16(exact, means=means) != quantize_onnx.float16(exact)


def test_ranges_are_found_once(exact: bytes, pixels: np.ndarray):
    calibration = OnnxCalibration(exact, pixels)
    first = calibration.ranges(QuantisationPlan())
    assert calibration.ranges(QuantisationPlan(scheme="u8s8")) == first
    assert calibration.sample() is calibration.sample()  # the pictures are run once
    assert calibration.ranges(QuantisationPlan(pictures=3)) != first
