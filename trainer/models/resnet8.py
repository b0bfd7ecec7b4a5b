"""ResNet8, the image classifier of MLPerf Tiny (Banbury et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Any

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import MOMENTUM, centred, dropped, image_input, probabilities


def build(spec: ModelSpec) -> keras.Model:
    """A stem and three residual blocks of 16, 32 and 64 channels (He et al., CVPR 2016)."""
    layers = keras.layers
    image = image_input(spec)
    x = _convolved(centred(image), 16, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for number, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
        name = f"block{number}"
        y = _convolved(x, channels, stride=stride, name=f"{name}_first")
        y = layers.ReLU(name=f"{name}_first_relu")(y)
        y = _convolved(y, channels, name=f"{name}_second")
        if stride > 1:
            x = _convolved(x, channels, size=1, stride=stride, name=f"{name}_shortcut")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    x = dropped(layers.GlobalAveragePooling2D()(x), spec, 0.0)
    return keras.Model(image, probabilities(x, spec.units), name="resnet8")


def _convolved(x: Any, channels: int, *, name: str, size: int = 3, stride: int = 1) -> Any:
    layers = keras.layers
    convolution = layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(1e-4),
        name=name,
    )
    return layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(convolution(x))
