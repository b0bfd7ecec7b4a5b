"""Pictures in batches, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.keras_quiet import keras
from trainer.pictures import Pixels
from trainer.team import ALONE, Team

# Batches that are fetched while the model learns.
_AHEAD = 2


class Batches(keras.utils.PyDataset):
    """Pictures in their own order, each once: to be answered."""

    def __init__(self, pixels: Pixels, batch_size: int) -> None:
        super().__init__()
        self._pixels = pixels
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._pixels) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._rows_of(index)
        self._pixels.expect(self._rows_of(index + 1))
        return self._pixels.inputs(chosen), self._pixels.labels[chosen]

    def _rows_of(self, index: int) -> np.ndarray:
        start = index * self._batch_size
        return np.arange(start, min(start + self._batch_size, len(self._pixels)))


class LearningBatches(keras.utils.PyDataset):
    """Pictures in a random order, for `LearningModel`. The same key draws the same order.

    All batches are of one size, so that batch statistics are never those of a few pictures and
    nothing is compiled for a rest: the last batch is filled from the order's beginning.
    """

    def __init__(
        self,
        pixels: Pixels,
        batch_size: int,
        *,
        key: tuple[int, int],
        steps: int | None = None,
        team: Team = ALONE,
    ) -> None:
        """Args:
        key: (seed, epoch).
        steps: so many batches; `None`: as many as show every picture.
        team: of which this process gives its own part of each batch.
        """
        super().__init__()
        self._pixels, self._team = pixels, team
        self._batch_size = min(batch_size, len(pixels))
        self._steps = steps or steps_per_epoch(pixels, batch_size)
        order = np.random.default_rng(key).permutation(len(pixels))
        self._order = np.resize(order, self._steps * self._batch_size)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[dict[str, Any], np.ndarray]:
        chosen = self._rows_of(index)
        self._pixels.expect(self._rows_of(index + 1))
        labels = self._pixels.labels[chosen]
        return {"images": self._pixels.inputs(chosen), "labels": labels}, labels

    def _rows_of(self, index: int) -> np.ndarray:
        start = index * self._batch_size
        return self._team.share(self._order[start : start + self._batch_size])


def fed(batches: Batches | LearningBatches) -> Any:
    """What Keras is to be given in place of `batches`: the same, one after the other.

    Under TensorFlow, Keras would lay a tf.data pipeline around them that tunes itself, by a thread
    whose pauses double from 10 ms on. At its end each `fit` and `predict` waits for that thread
    (TensorFlow 2.21): an epoch of 2.6 s takes 5.1 s, one of 5.2 s takes 10.2 s.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    def one_by_one() -> Iterator[Any]:
        return (batches[index] for index in range(len(batches)))

    signature = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0]
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    pipeline = tf.data.Dataset.from_generator(one_by_one, output_signature=signature)
    pipeline = pipeline.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return pipeline.prefetch(_AHEAD).with_options(options)


def steps_per_epoch(pixels: Pixels, batch_size: int) -> int:
    """How many batches show every picture."""
    return -(-len(pixels) // batch_size)
