"""Ranges of activations, as calibration pictures show them."""

from __future__ import annotations

import numpy as np
import pytest

from converters.float_graphs import tflite_from_keras
from converters.quantisation_plan import QuantisationPlan
from converters.tflite.calibration import Calibration
from converters.tflite.graph import TfliteGraph


@pytest.fixture(scope="module")
def swish() -> Calibration:
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((12, 12, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-128 / 127.5)(image)
    x = layers.Conv2D(8, 3, activation="swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    pixels = np.random.default_rng(3).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    return Calibration(tflite_from_keras(model), pixels)


def read_by(calibration: Calibration, code: str) -> str:
    """Name of what the operator reads."""
    graph = TfliteGraph(calibration.tflite)
    return next(graph.name(n.inputs[0]) for n in graph.nodes() if n.code == code)


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_what_a_swish_reads_is_clipped_and_what_the_softmax_reads_is_not(swish, method):
    whole = swish.ranges(QuantisationPlan())
    clipped = swish.ranges(QuantisationPlan(method=method, percentile=95.0))
    inner, head = read_by(swish, "LOGISTIC"), read_by(swish, "SOFTMAX")
    assert np.ptp(clipped[inner]) < np.ptp(whole[inner])
    assert clipped[head] == whole[head]


def test_ranges_of_fewer_pictures_are_narrower(swish):
    inner = read_by(swish, "LOGISTIC")
    few, all_ = swish.ranges(QuantisationPlan(pictures=1)), swish.ranges(QuantisationPlan())
    assert np.ptp(few[inner]) < np.ptp(all_[inner])
