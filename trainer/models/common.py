"""What all models have in common: pixels in, probabilities out."""

from __future__ import annotations

from typing import Any

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras

# Of batch normalisation from random weights: a small data set has few batches.
MOMENTUM = 0.9


def image_input(spec: ModelSpec) -> Any:
    """The input that every file of a bundle takes: uint8 RGB, (batch, height, width, 3)."""
    return keras.Input((*spec.input_hw, 3), dtype="uint8", name="image")


def centred(image: Any) -> Any:
    """Pixels from about -1 to 1.

    ImageNet's x/127.5 - 1 puts zero at level 127.5. At 128 it lies on a pixel level, so int8 keeps
    all 256 levels exactly; half a level's shift does not matter to the features.
    """
    return keras.layers.Rescaling(1 / 127.5, offset=-128 / 127.5, name="scale")(image)


def probabilities(x: Any, units: int) -> Any:
    """One sigmoid for two classes, otherwise a softmax; float32 also in mixed precision."""
    activation = "sigmoid" if units == 1 else "softmax"
    dense = keras.layers.Dense(units, activation=activation, dtype="float32", name="probabilities")
    return dense(x)


def dropped(x: Any, spec: ModelSpec, share: float) -> Any:
    """`x` with so many of its features left out while learning, unless the user says otherwise."""
    chosen = share if spec.dropout is None else spec.dropout
    return keras.layers.Dropout(chosen)(x) if chosen else x
