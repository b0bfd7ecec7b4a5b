"""What a Keras model's first layers say of the pixels that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.incoming.readers.keras_layers import facts_of

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("before", ["nothing", "augmentation", "shape", "convolution"])
def test_scaling_is_found_behind_what_leaves_pixels_alone(before: str):
    from converters.keras_quiet import keras

    layers = keras.layers
    first = {
        "nothing": [],
        "augmentation": [
            layers.RandomFlip(),
            keras.Sequential([layers.RandomRotation(0.1), layers.RandomContrast(0.1)]),
        ],
        "shape": [layers.Resizing(16, 16), layers.CenterCrop(12, 12)],
        "convolution": [layers.Conv2D(3, 1)],
    }[before]
    x = image = keras.Input((20, 20, 3))
    for layer in (*first, layers.Rescaling(1 / 255, name="scaling"), layers.Flatten()):
        x = layer(x)
    facts = facts_of(Path("model.keras"), keras.Model(image, layers.Dense(2, "softmax")(x)))
    if before == "convolution":
        assert facts.pixels is None
        return
    assert facts.pixels is not None
    assert facts.pixels.scale == 1.0
    assert facts.pixels.origin.startswith("Rescaling layer 'scaling' inside the model")
