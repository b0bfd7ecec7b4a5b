"""Whatever a model was trained to answer, its files answer one probability per label."""

from typing import Any

import numpy as np
import pytest

from converters.export_head import EXPORTED, answering_probabilities
from edge_runtime.head import Head
from edge_runtime.parity import compare


def model(units: int, activation: str, *, dense_last: bool = True) -> Any:
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-128 / 127.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
    x = keras.layers.Dense(units, None if not dense_last else activation, name="answer")(x * 8)
    if not dense_last:
        x = keras.layers.Activation(activation)(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("dense_last", [True, False])
@pytest.mark.parametrize(
    ("kind", "units", "activation"),
    [
        ("softmax", 3, "softmax"),
        ("sigmoid", 1, "sigmoid"),
        ("logits", 3, "linear"),
        ("logit", 1, "linear"),
    ],
)
def test_the_exported_model_answers_what_the_head_says(
    kind: Any, units: int, activation: str, dense_last: bool
):
    trained = model(units, activation, dense_last=dense_last)
    head = Head(kind=kind)
    exported = answering_probabilities(trained, head)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    wanted = head.probabilities(np.asarray(trained(pixels)))
    given = EXPORTED.probabilities(np.asarray(exported(pixels)))
    assert np.ptp(wanted[:, 0]) > 1e-3  # it answers different things
    assert np.allclose(wanted.sum(axis=1), 1, atol=1e-6)
    parity = compare(wanted, given)
    assert parity.max_abs_error is not None
    assert parity.max_abs_error < 1e-6


def test_a_two_class_dense_layer_gets_no_further_operator():
    exported = answering_probabilities(model(1, "sigmoid"), Head(kind="sigmoid"))
    assert exported.layers[-1].__class__.__name__ == "Dense"
    assert exported.output_shape == (None, 2)


def test_the_trained_model_is_left_as_it_is():
    trained = model(1, "sigmoid")
    before = [w.copy() for w in trained.get_weights()]
    answering_probabilities(trained, Head(kind="sigmoid"))
    assert trained.output_shape == (None, 1)
    for old, new in zip(before, trained.get_weights(), strict=True):
        assert np.array_equal(old, new)
