"""The small network of the article that this trainer began with."""

from __future__ import annotations

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import dropped, image_input, probabilities


def build(spec: ModelSpec) -> keras.Model:
    """Three convolutions, each halved by max pooling, and a dense layer of 512."""
    layers = keras.layers
    image = image_input(spec)
    x = layers.Rescaling(1 / 255, name="scale")(image)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = dropped(x, spec, 0.5)
    x = layers.Dense(512, activation="relu")(x)
    return keras.Model(image, probabilities(x, spec.units), name="article_cnn")
