"""EfficientNet-Lite0: relu6 in place of swish and no squeeze-and-excite, so that int8 holds.

Sources: Tan and Le, "EfficientNet" (ICML 2019), for the blocks; Google's EfficientNet-Lite release
(2020) for what it leaves out, and for stem and top, which no width scales.
"""

from __future__ import annotations

from typing import Any

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import MOMENTUM, centred, dropped, image_input, probabilities

STEM, TOP = 32, 1280
# Repeats, kernel size, stride of the first, expansion, channels.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build(spec: ModelSpec) -> keras.Model:
    """Inverted residual blocks of `spec.alpha` times Lite0's width."""
    layers = keras.layers
    image = image_input(spec)
    x = _Block(STEM, "stem").convolved(centred(image), size=3, stride=2)
    for stage, (repeats, size, stride, expansion, channels) in enumerate(BLOCKS, 1):
        for number in range(repeats):
            block = _Block(_divisible(channels * spec.alpha), f"block{stage}{'abcd'[number]}")
            x = block(x, size=size, stride=1 if number else stride, expansion=expansion)
    x = _Block(TOP, "top").convolved(x, size=1)
    x = layers.GlobalAveragePooling2D()(x)
    x = dropped(x, spec, 0.2)
    return keras.Model(image, probabilities(x, spec.units), name="efficientnet_lite0")


class _Block:
    """One inverted residual block (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, channels: int, name: str) -> None:
        self._channels, self._name = channels, name

    def __call__(self, x: Any, *, size: int, stride: int, expansion: int) -> Any:
        name, before, inside = self._name, x, x.shape[-1] * expansion
        if expansion > 1:
            x = _Block(inside, f"{name}_expand").convolved(x, size=1)
        depthwise = keras.layers.DepthwiseConv2D(
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            name=f"{name}_depthwise",
        )
        x = _activated(_normalised(depthwise(x), f"{name}_depthwise"), f"{name}_depthwise")
        project = _Block(self._channels, f"{name}_project")
        x = project.convolved(x, size=1, activate=False)
        if stride == 1 and before.shape[-1] == self._channels:
            x = keras.layers.Add(name=f"{name}_add")([before, x])
        return x

    def convolved(self, x: Any, *, size: int, stride: int = 1, activate: bool = True) -> Any:
        """A convolution with its normalisation and, unless told otherwise, relu6."""
        convolution = keras.layers.Conv2D(
            self._channels,
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=self._name,
        )
        x = _normalised(convolution(x), self._name)
        return _activated(x, self._name) if activate else x


def _normalised(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)


def _activated(x: Any, name: str) -> Any:
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _divisible(channels: float) -> int:
    """The next multiple of 8 that is not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
