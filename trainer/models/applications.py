"""Models of keras.applications, on our input and with our head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import MOMENTUM, centred, dropped, image_input, probabilities
from trainer.weights import pretrained_values

Pixels = Literal["centred", "caffe"]
# What Keras' "caffe" preprocessing takes from red, green and blue.
_MEANS = (123.68, 116.779, 103.939)


def build(
    spec: ModelSpec,
    application: str,
    settings: Mapping[str, Any] | None = None,
    pixels: Pixels = "centred",
) -> keras.Model:
    """The application's body, global average pooling and our head.

    Args:
        application: its function in keras.applications.
        settings: more arguments of that function.
        pixels: how the pretrained weights want them: from -1 to 1, or as levels of blue, green and
            red less their means.

    Raises:
        WeightsError: when the pretrained weights cannot be had or do not fit.
    """
    layers = keras.layers
    image = image_input(spec)
    make = getattr(keras.applications, application)
    chosen = {"include_top": False, "weights": None, **(settings or {})}
    if pixels == "centred":
        chosen["alpha"] = spec.alpha
    # Built on our own input, the graph is flat: every layer can be named by a report.
    body = make(input_tensor=centred(image), **chosen)
    values = pretrained_values(make, chosen, spec)
    if values is None:
        _settle_statistics_sooner(body)
    else:
        body.set_weights(values)
        if pixels == "caffe":
            take_centred_pixels(next(x for x in body.layers if isinstance(x, layers.Conv2D)))
        _freeze_statistics(body)
    x = layers.GlobalAveragePooling2D()(body.output)
    x = dropped(x, spec, 0.2)
    return keras.Model(image, probabilities(x, spec.units), name=application.lower())


def take_centred_pixels(first: keras.layers.Conv2D) -> None:
    """Let a first convolution that wants blue, green, red less their means take `centred` pixels.

    With y = (x - 128) / 127.5, w * (x - mean) = 127.5 w * y + w * (128 - mean): exact but for the
    padding, which means level 128 where it meant the mean. Scaled channel by channel outside of
    the convolution, int8 would lose levels.
    """
    kernel, bias = first.get_weights()
    kernel = kernel[:, :, ::-1]
    shift = np.reshape([128 - mean for mean in _MEANS], (1, 1, 3, 1))
    first.set_weights([127.5 * kernel, bias + (kernel * shift).sum(axis=(0, 1, 2))])


def _settle_statistics_sooner(body: keras.Model) -> None:
    # Keras' 0.99 and 0.999 need hundreds or thousands of batches before a layer knows its
    # statistics; until then a model that has learnt much still guesses.
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM


def _freeze_statistics(body: keras.Model) -> None:
    # A frozen BatchNormalization uses its stored statistics: those of a small data set's batches
    # are too noisy to replace ImageNet's.
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
