"""The augmentation layer: one affine warp for each picture, inside the graph."""

from __future__ import annotations

import math
from typing import Any

from trainer.augment import Augmentation
from trainer.keras_quiet import keras

ops = keras.ops


class RandomWarp(keras.layers.Layer):
    """Composes rotation, shift, shear, zoom and flip into one matrix and samples each picture once.

    Four Keras layers would sample four times: slower, and each time blurrier. What leaves the
    picture's edge repeats the edge. In and out are uint8, as a camera gives them; without
    `training` the input passes unchanged.
    """

    def __init__(self, amounts: Augmentation, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.amounts = amounts
        self.seed_generator = keras.random.SeedGenerator(seed)
        # TensorFlow's warp has no XLA kernel.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        rows, (height, width) = ops.shape(images)[0], images.shape[-3:-1]
        draws = keras.random.uniform((rows, 7), -1.0, 1.0, seed=self.seed_generator)
        if len(images.shape) == 5:  # clips: every frame is warped alike, or still things would move
            frames = images.shape[1]
            draws = ops.repeat(draws, frames, axis=0)
            pictures = ops.reshape(images, (-1, height, width, 3))
            warped = self._warped(pictures, draws, height, width)
            return ops.reshape(warped, (-1, frames, height, width, 3))
        return self._warped(images, draws, height, width)

    def _warped(self, images: Any, draws: Any, height: int, width: int) -> Any:
        warped = ops.image.affine_transform(
            ops.cast(images, "float32"),
            warp_matrices(self.amounts, draws, height=height, width=width),
            interpolation="bilinear",
            fill_mode="nearest",
            data_format="channels_last",
        )
        return ops.cast(ops.clip(ops.round(warped), 0, 255), "uint8")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def warp_matrices(amounts: Augmentation, draws: Any, *, height: int, width: int) -> Any:
    """Matrices that say, for each pixel of the result, where in the picture to look.

    Args:
        draws: float32, (batch, 7), each from -1 to 1: rotation, shift in x and y, shear, zoom in x
            and y, flip.

    Returns:
        float32, (batch, 8): a0 a1 a2 b0 b1 b2 0 0, as `keras.ops.image.affine_transform` has them.
    """
    draw = [draws[:, i] for i in range(7)]
    angle = draw[0] * math.radians(amounts.rotation_deg)
    shear = draw[3] * amounts.shear
    zoom_x, zoom_y = 1 + draw[4] * amounts.zoom, 1 + draw[5] * amounts.zoom
    if amounts.flip:
        zoom_x = zoom_x * ops.where(draw[6] < 0, -1.0, 1.0)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # rotation x shear x zoom, about the middle
    a0, a1 = cos * zoom_x, (cos * shear - sin) * zoom_y
    b0, b1 = sin * zoom_x, (sin * shear + cos) * zoom_y
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    a2 = middle_x - a0 * middle_x - a1 * middle_y + draw[1] * amounts.shift * width
    b2 = middle_y - b0 * middle_x - b1 * middle_y + draw[2] * amounts.shift * height
    zero = ops.zeros_like(a0)
    return ops.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
