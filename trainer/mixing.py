"""MixUp and CutMix: two pictures become one, and so do their labels."""

from __future__ import annotations

from typing import Any

from trainer.keras_quiet import keras

ops = keras.ops


class MixPictures(keras.layers.Layer):
    """Keras' own layers; of both, each batch gets one or the other.

    Takes images, (batch, height, width, 3), and float32 targets, (batch, units).
    """

    def __init__(self, mixup: float, cutmix: float, *, seed: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.kinds: list[Any] = []
        if mixup:
            self.kinds.append(keras.layers.MixUp(alpha=mixup, seed=seed))
        if cutmix:
            self.kinds.append(keras.layers.CutMix(factor=cutmix, seed=seed))
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, targets: Any) -> tuple[Any, Any]:
        if not self.kinds:
            return images, targets
        images = ops.cast(images, "float32")
        mixed = [kind({"images": images, "labels": targets}, training=True) for kind in self.kinds]
        if len(mixed) == 1:
            return mixed[0]["images"], mixed[0]["labels"]
        first = keras.random.uniform((), seed=self.seed_generator) < 0.5
        return (
            ops.where(first, mixed[0]["images"], mixed[1]["images"]),
            ops.where(first, mixed[0]["labels"], mixed[1]["labels"]),
        )
