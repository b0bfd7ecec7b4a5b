"""Every exported file answers one probability per label, whatever the model was trained to answer.

A device then needs to know nothing of heads, and programs that are not ours (MediaPipe, a
microcontroller's firmware) read the answers as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.keras2 import keras_of
from edge_runtime.head import Head

EXPORTED = Head(kind="softmax")


def answering_probabilities(model: Any, head: Head) -> Any:
    """The same model with an output of float32 (batch, labels): probabilities.

    A probability p of the second of two labels becomes both: sigmoid(z) is the second number of
    softmax(-z/2, z/2), so a dense layer of one unit becomes one of two with plus and minus half
    its weights. Quantisers and microcontrollers know that form; the difference `1 - p` would be
    one more operator.

    Args:
        model: Keras model: uint8 (batch, H, W, 3) to (batch, units).
        head: what its output means.
    """
    if head.kind == "softmax":
        return model
    keras = keras_of(model)
    layers = keras.layers
    if head.kind == "logits":
        output = layers.Softmax(name="softmax")(model.output)
        return keras.Model(model.inputs, output, name=model.name)
    last = model.layers[-1]
    wanted = {"sigmoid": "sigmoid", "logit": "linear"}[head.kind]
    is_dense = isinstance(last, layers.Dense) and last.activation.__name__ == wanted
    if is_dense and last.output is model.output:
        output = _two_units(keras, last)
    elif head.kind == "sigmoid":
        # Not a dense layer: the second probability has to be computed.
        output = layers.Concatenate(name="both")([1.0 - model.output, model.output])
    else:
        halves = layers.Concatenate(name="both")([-0.5 * model.output, 0.5 * model.output])
        output = layers.Softmax(name="softmax")(halves)
    return keras.Model(model.inputs, output, name=model.name)


def _two_units(keras: Any, dense: Any) -> Any:
    twin = keras.layers.Dense(2, activation="softmax", dtype="float32", name=dense.name)
    output = twin(dense.input)
    kernel = np.asarray(dense.kernel)
    bias = np.asarray(dense.bias) if dense.use_bias else np.zeros(1, np.float32)
    twin.set_weights(
        [np.concatenate([-kernel, kernel], axis=1) / 2, np.concatenate([-bias, bias]) / 2]
    )
    return output
