"""What explanations promise: the sum is the score's change, and the heat is where the cause is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.head import Head
from trainer import ARCHITECTURES
from trainer.architectures import ModelSpec
from trainer.explain.attribution import GAP, MOST_STEPS, grad_cam, integrated_gradients
from trainer.explain.opened import OpenedModel

SIDE = 48


def red_finder() -> OpenedModel:
    """Two labels: nothing, and something red; by hand, so that the cause is known."""
    from trainer.keras_quiet import keras

    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    red = layers.Conv2D(2, 3, padding="same", activation="relu", name="red")
    x = red(x)
    x = layers.MaxPooling2D(4)(x)
    x = layers.GlobalAveragePooling2D()(x)
    last = layers.Dense(2, activation="softmax", name="probabilities")
    core = keras.Model(image, last(x))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, :, 0] = [1, -1, -1]  # red
    kernel[1, 1, :, 1] = [-1, -1, 1]  # blue: says nothing about either label
    red.set_weights([kernel, np.zeros(2, np.float32)])
    last.set_weights([np.array([[-9, 9], [0, 0]], np.float32), np.array([0.2, -0.2], np.float32)])
    return OpenedModel(core, Head(kind="softmax"), 2)


def with_patch(channel: int, top: int, left: int) -> np.ndarray:
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[top : top + 8, left : left + 8] = 0
    picture[top : top + 8, left : left + 8, channel] = 250
    return picture


@pytest.mark.parametrize(("top", "left"), [(4, 4), (20, 36), (38, 12)])
def test_grad_cam_lights_up_on_the_planted_patch_and_nowhere_else(top: int, left: int):
    model = red_finder()
    picture = with_patch(0, top, left)
    picture[24:32, 0:4] = [0, 0, 250]  # a blue one that says nothing
    heat = grad_cam(model, picture, 1)
    assert heat.shape == (SIDE, SIDE)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[top : top + 8, left : left + 8] = True
    assert heat[inside].min() > 0.9
    assert heat[~inside].max() == 0


def test_grad_cam_of_a_label_that_nothing_speaks_for_is_dark():
    assert grad_cam(red_finder(), with_patch(0, 4, 4), 0).max() == 0


def test_integrated_gradients_blame_the_patch():
    found = integrated_gradients(red_finder(), with_patch(0, 12, 20), 1)
    assert found.values[12:20, 20:28].sum() > 0.9 * found.change > 0


@pytest.mark.parametrize(
    ("name", "units"), [("article_cnn", 1), ("mobilenet_v2", 3), ("compact_transformer", 3)]
)
def test_attributions_add_up_to_the_change_of_the_score(name: str, units: int):
    from trainer.keras_quiet import keras

    keras.utils.set_random_seed(1)
    spec = ModelSpec(input_hw=(SIDE, SIDE), units=units, alpha=0.35, weights="none")
    core = ARCHITECTURES[name].build(spec)
    head = Head(kind="sigmoid" if units == 1 else "softmax")
    model = OpenedModel(core, head, max(2, units))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for label in (0, 1):
        found = integrated_gradients(model, picture, label)
        assert found.values.shape == (SIDE, SIDE, 3)
        assert found.steps <= MOST_STEPS
        black = np.zeros_like(picture)
        ends = model.scaled(np.stack([black, picture]))
        score = np.asarray(model.score(ends, label))
        assert found.values.sum() == pytest.approx(
            float(score[1] - score[0]), abs=GAP * max(abs(found.change), 1.0) + 1e-4
        )
    heat = grad_cam(model, picture, 1)
    assert heat.shape == model.layers[-1].grid_hw
    assert 0 <= heat.min() <= heat.max() <= 1


def test_scores_before_softmax_are_those_of_the_model():
    from trainer.keras_quiet import keras

    keras.utils.set_random_seed(2)
    spec = ModelSpec(input_hw=(SIDE, SIDE), units=3, alpha=0.35, weights="none")
    model = OpenedModel(ARCHITECTURES["resnet8"].build(spec), Head(kind="softmax"), 3)
    pictures = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    scaled = model.scaled(pictures)
    z = np.stack([np.asarray(model.score(scaled, n)) for n in range(3)], axis=1)
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    softmax = powers / powers.sum(axis=1, keepdims=True)
    assert np.allclose(softmax, model.probabilities(pictures), atol=1e-5)
