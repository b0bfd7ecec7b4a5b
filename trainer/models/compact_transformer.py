"""A small vision transformer that learns from few pictures, and that quantises.

Sources: Vaswani et al., "Attention is all you need" (NeurIPS 2017), for the encoder; Hassani et
al., "Escaping the big data paradigm with compact transformers" (2021), for tokens that convolutions
make. Three things differ, all for the files that are made of it: positions come from a depthwise
convolution (Chu et al., "Conditional positional encodings", ICLR 2023), which is one operator; each
normalisation is by batch statistics, which integers multiply and add, where a layer's own mean and
variance lose too many bits; and GELU is its sigmoid form, since onnxruntime has no `Erf` in int8.
"""

from __future__ import annotations

from typing import Any

from trainer.architectures import ModelSpec
from trainer.keras_quiet import keras
from trainer.models.common import MOMENTUM, centred, dropped, image_input, probabilities

WIDTH, HEADS, BLOCKS, EXPANSION = 128, 4, 4, 2
DROPOUT = 0.1
# The picture is halved until no more tokens than this are left on a side.
MOST_TOKENS = 16


def build(spec: ModelSpec) -> keras.Model:
    """Convolutions down to at most 16x16 tokens of 128 numbers, and four encoder blocks."""
    layers = keras.layers
    image = image_input(spec)
    x, number = centred(image), 0
    while number == 0 or max(x.shape[1:3]) > MOST_TOKENS:
        number += 1
        x = layers.Conv2D(
            WIDTH if max(x.shape[1:3]) <= 2 * MOST_TOKENS else WIDTH // 2,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"tokens{number}",
        )(x)
        x = layers.ReLU(name=f"tokens{number}_relu")(_normalised(x, f"tokens{number}_bn"))
        x = layers.MaxPooling2D(3, 2, padding="same", name=f"tokens{number}_pool")(x)
    x = layers.Add(name="positions_add")(
        [x, layers.DepthwiseConv2D(3, padding="same", name="positions")(x)]
    )
    x = layers.Reshape((x.shape[1] * x.shape[2], WIDTH), name="tokens")(x)
    for number in range(1, BLOCKS + 1):
        x = _encoded(x, f"block{number}")
    x = layers.GlobalAveragePooling1D()(_normalised(x, "last_bn"))
    x = dropped(x, spec, DROPOUT)
    return keras.Model(image, probabilities(x, spec.units), name="compact_transformer")


def _encoded(x: Any, name: str) -> Any:
    """Self-attention and two dense layers, each added to what it was given."""
    layers = keras.layers
    attention = layers.MultiHeadAttention(
        HEADS, WIDTH // HEADS, dropout=DROPOUT, name=f"{name}_attention"
    )
    y = _normalised(x, f"{name}_bn1")
    x = layers.Add(name=f"{name}_add1")([x, attention(y, y)])
    y = _dense(_normalised(x, f"{name}_bn2"), EXPANSION * WIDTH, f"{name}_dense1")
    y = _dense(_gelu(y), WIDTH, f"{name}_dense2")
    y = layers.Dropout(DROPOUT, name=f"{name}_dropout")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


def _dense(x: Any, units: int, name: str) -> Any:
    # `Dense` would look up the number of tokens while it runs: eight operators more in each file.
    shape = (x.shape[1], units)
    return keras.layers.EinsumDense("btc,cd->btd", shape, bias_axes="d", name=name)(x)


def _gelu(x: Any) -> Any:
    """x * sigmoid(1.702 x) (Hendrycks and Gimpel, "Gaussian error linear units", 2016)."""
    return x * keras.ops.sigmoid(1.702 * x)


def _normalised(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(momentum=MOMENTUM, name=name)(x)
