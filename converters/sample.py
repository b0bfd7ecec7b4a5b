"""What a few dozen pictures show of a graph's activations: means and histograms, in one pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from converters.histogram import Histogram


class Sample:
    """Grows with each picture. Only sums and counts are kept, no activation.

    Attributes:
        histograms: of every tensor, by name.
    """

    def __init__(self, read_by_weights: Collection[str], *, channel_axis: int = -1) -> None:
        """Start with nothing.

        Args:
            read_by_weights: names of the tensors that weighted layers read.
            channel_axis: of those.
        """
        self.histograms: dict[str, Histogram] = {}
        self._read = read_by_weights
        self._channel_axis = channel_axis
        self._sums: dict[str, np.ndarray] = {}
        self._pictures = 0

    @property
    def means(self) -> dict[str, np.ndarray]:
        """Mean of what each weighted layer reads, by tensor name: float64, (channels,)."""
        return {name: total / self._pictures for name, total in self._sums.items()}

    def add(self, tensors: Mapping[str, np.ndarray]) -> None:
        """See one picture's tensors, by name.

        Raises:
            ConversionError: when a value is not finite.
        """
        self._pictures += 1
        for name, values in tensors.items():
            self.histograms.setdefault(name, Histogram()).add(values, name)
            if name in self._read:
                channels = self._channel_axis % values.ndim
                others = tuple(axis for axis in range(values.ndim) if axis != channels)
                mean = values.mean(axis=others, dtype=np.float64)
                self._sums[name] = self._sums.get(name, 0.0) + mean
