"""Convolutions that look at each frame of a clip, and a gated recurrent unit that remembers them.

K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
translation" (EMNLP 2014), for the unit; its reset gate works on what the recurrent weights have
made, as in cuDNN. It is written out step by step: a loop in the graph would be a `WHILE` that int8
does not know, and a GRU layer asks for the batch size while it runs. The frames of a clip are the
batch of the convolutions, so that each operator is there once.
"""

from __future__ import annotations

from typing import Any

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import MOMENTUM, centred, probabilities

FILTERS = (16, 32, 48, 64)
# What a place of the last map is summed up in. Not averaged away: where something is, and where it
# was, is what a movement is made of.
PLACE_CHANNELS = 16
UNITS = 48
DROPOUT = 0.3


def build(spec: ModelSpec) -> keras.Model:
    """uint8 (batch, frames, height, width, 3) to probabilities."""
    layers, ops = keras.layers, keras.ops
    clip = keras.Input((spec.frames, *spec.input_hw, 3), dtype="uint8", name="image")
    x = ops.reshape(centred(clip), (-1, *spec.input_hw, 3))
    for number, filters in enumerate(FILTERS, 1):
        x = layers.Conv2D(
            filters,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"conv{number}",
        )(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"conv{number}_bn")(x)
        x = layers.ReLU(name=f"conv{number}_relu")(x)
    x = layers.Conv2D(PLACE_CHANNELS, 1, activation="relu", name="places")(x)
    x = layers.Dropout(DROPOUT, name="dropout")(layers.Flatten(name="features")(x))
    x = layers.Dense(3 * UNITS, name="gru_input")(x)
    x = ops.reshape(x, (-1, spec.frames, 3 * UNITS))
    state = _unrolled(x, spec.frames)
    return keras.Model(clip, probabilities(state, spec.units), name="cnn_gru")


def _unrolled(x: Any, frames: int) -> Any:
    """The unit's state after the last frame: (batch, UNITS)."""
    layers, ops = keras.layers, keras.ops
    recurrent = layers.Dense(3 * UNITS, name="gru_recurrent", kernel_initializer="orthogonal")
    state: Any = None
    for frame in range(frames):
        update, reset, new = _thirds(x[:, frame])
        if state is None:  # it begins with nothing
            state = (1.0 - ops.sigmoid(update)) * ops.tanh(new)
            continue
        update_by_state, reset_by_state, new_by_state = _thirds(recurrent(state))
        candidate = ops.tanh(new + ops.sigmoid(reset + reset_by_state) * new_by_state)
        state = candidate + ops.sigmoid(update + update_by_state) * (state - candidate)
    return state


def _thirds(x: Any) -> tuple[Any, Any, Any]:
    return x[:, :UNITS], x[:, UNITS : 2 * UNITS], x[:, 2 * UNITS :]
