"""What every engine does: uint8 pictures in, the model's raw numbers out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.errors import TensorError


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model file.

    Attributes:
        shape: without the batch axis.
        scale: real value of one integer step; 0 when the tensor is not quantised.
        zero_point: integer that stands for the real value 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float = 0.0
    zero_point: int = 0


class Engine(ABC):
    """Runs one model file on one runtime. A new engine writes `_infer` and nothing else.

    Attributes:
        name: key in `ENGINES` or `PEERS`.
        version: the runtime's own version, and after a space its kernels, where it has several:
            `2.3.0 XNNPACK`.
        threads: how many it was given.
        input, output: the model's tensors.
    """

    name: str
    version: str
    threads: int
    input: TensorSpec
    output: TensorSpec

    @abstractmethod
    def __init__(self, model: Path, *, threads: int = 0) -> None:
        """Load a model file; 0 threads means one for each core. Raises EngineError."""

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            batch: uint8, shape (batch, *input.shape).

        Returns:
            The raw output, dtype and shape (batch, *output.shape) as in the file.

        Raises:
            TensorError: when the batch has another dtype or shape.
            EngineError: when the runtime fails.
        """
        if batch.dtype != self.input.dtype or batch.shape[1:] != self.input.shape:
            raise TensorError(
                f"{self.name} input {self.input.name!r} is {self.input.dtype} of shape "
                f"(batch, {', '.join(map(str, self.input.shape))}); "
                f"got {batch.dtype} of shape {batch.shape}."
            )
        return self._infer(batch)

    def dequantize(self, raw: np.ndarray) -> np.ndarray:
        """Raw output as float32: (raw - zero_point) * scale, as the TFLite specification has it."""
        if self.output.scale == 0.0:
            return raw.astype(np.float32, copy=False)
        steps = raw.astype(np.int32) - self.output.zero_point
        return steps.astype(np.float32) * np.float32(self.output.scale)

    @abstractmethod
    def _infer(self, batch: np.ndarray) -> np.ndarray:
        """The runtime's work only; `batch` already matches `input`."""


def threads_or_all(threads: int) -> int:
    """The number asked for, or one for each core this process may use."""
    if threads > 0:
        return threads
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
