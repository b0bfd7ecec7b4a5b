"""Pictures in batches, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np

from trainer.keras_quiet import keras
from trainer.pictures import Pixels


class Batches(keras.utils.PyDataset):
    """One epoch of pictures. A resumed run draws the same order for the same epoch."""

    def __init__(
        self, pixels: Pixels, batch_size: int, *, shuffle_key: tuple[int, int] | None = None
    ) -> None:
        """Args: shuffle_key: (seed, epoch); `None` keeps the order."""
        super().__init__()
        self._pixels = pixels
        self._batch_size = batch_size
        self._order = np.arange(len(pixels))
        if shuffle_key is not None:
            self._order = np.random.default_rng(shuffle_key).permutation(len(pixels))

    def __len__(self) -> int:
        return -(-len(self._pixels) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._rows_of(index)
        self._pixels.expect(self._rows_of(index + 1))
        return self._pixels.inputs(chosen), self._pixels.labels[chosen]

    def _rows_of(self, index: int) -> np.ndarray:
        start = index * self._batch_size
        return self._order[start : start + self._batch_size]
