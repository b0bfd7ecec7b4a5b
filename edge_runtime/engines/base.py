"""What every engine does: uint8 pictures in, the model's raw numbers out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.engines.options import NO_OPTIONS, EngineOptions
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.text import count_of


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


@dataclass(frozen=True)
class Placement:
    """Where a part of a model's operators really runs, counted after loading.

    Attributes:
        name: of a delegate, such as `XNNPACK` or `libedgetpu.so.1`, or of an execution provider,
            such as `CUDA`.
        operators: how many of the model's operators it took.
        total: how many there are.
        is_accelerator: whether it is other hardware than the CPU that the engine runs on anyway.
    """

    name: str
    operators: int
    total: int
    is_accelerator: bool

    @property
    def share(self) -> float:
        """Fraction of the operators, 0 to 1."""
        return self.operators / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.operators} of {self.total} operators"


class Engine(ABC):
    """Runs one model file on one runtime. A new engine writes `_infer` and nothing else.

    Attributes:
        name: key in `ENGINES` or `PEERS`.
        version: the runtime's own version, and after a space its kernels, where it has several:
            `2.3.0 XNNPACK`.
        threads: how many it was given.
        input, output: the model's tensors.
        outputs: all that it answers, `output` first; only `infer_all` gives more than one.
        placements: delegates and providers that took operators, the largest part first. Empty
            where all of them are left to the engine's own kernels.
        notes: what was asked for and could not be had, in words.
    """

    name: str
    version: str
    threads: int
    input: TensorSpec
    output: TensorSpec
    outputs: tuple[TensorSpec, ...] = ()
    placements: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __init__(
        self, model: Path, *, threads: int = 0, options: EngineOptions = NO_OPTIONS
    ) -> None:
        """Load a model file; 0 threads means one for each core.

        Raises:
            EngineError: when it does not load.
            AcceleratorError: when `options.require_accelerator` cannot be kept.
        """

    @property
    def accelerator(self) -> str:
        """The delegate or provider that really runs: an accelerator before the CPU's XNNPACK.

        Empty where the engine's own kernels do all.
        """
        placement = self._main_placement
        return placement.name if placement else ""

    @property
    def share(self) -> float | None:
        """Fraction of the operators that `accelerator` runs; `None` where there is none."""
        placement = self._main_placement
        return placement.share if placement else None

    @property
    def is_accelerated(self) -> bool:
        """Whether other hardware than the CPU runs at least one operator."""
        return any(p.is_accelerator for p in self.placements)

    def describe(self) -> str:
        """Engine, version, what its operators run on, and threads, in one line."""
        where = "; ".join(str(p) for p in self.placements) or "its own kernels"
        return f"{self.name} {self.version} ({where}), {count_of(self.threads, 'thread')}"

    def close(self) -> None:
        """Let the model and its threads go, as far as the runtime does. Safe to call twice.

        Inference afterwards raises EngineError.
        """
        self._closed = True

    _closed = False

    @property
    def _main_placement(self) -> Placement | None:
        accelerated = [p for p in self.placements if p.is_accelerator]
        return next(iter(accelerated or self.placements), None)

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
        self._require(batch)
        if len(self.outputs) > 1:
            raise EngineError(
                f"{self.name}: the model has {len(self.outputs)} outputs; one is run, or all of "
                "them as raw tensors."
            )
        return self._infer(batch)

    def infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the model on one picture.

        Args:
            picture: uint8, shape (1, *input.shape).

        Returns:
            Each of `outputs`, raw, with the axes that it has in the file.

        Raises:
            TensorError: when the picture has another dtype or shape.
            EngineError: when the runtime fails.
        """
        self._require(picture)
        return self._infer_all(picture)

    def _require(self, batch: np.ndarray) -> None:
        if self._closed:
            raise EngineError(f"{self.name}: was closed; load the model again.")
        if batch.dtype != self.input.dtype or batch.shape[1:] != self.input.shape:
            raise TensorError(
                f"{self.name} input {self.input.name!r} is {self.input.dtype} of shape "
                f"(batch, {', '.join(map(str, self.input.shape))}); "
                f"got {batch.dtype} of shape {batch.shape}."
            )

    def dequantize(self, raw: np.ndarray) -> np.ndarray:
        """Raw output as float32: (raw - zero_point) * scale, as the TFLite specification has it."""
        return dequantized(raw, self.output)

    @abstractmethod
    def _infer(self, batch: np.ndarray) -> np.ndarray:
        """The runtime's work only; `batch` already matches `input`."""

    def _infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        """The same of every output, for one picture."""
        return (self._infer(picture),)


def dequantized(raw: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """See `Engine.dequantize`, of any tensor."""
    if spec.scale == 0.0:
        return raw.astype(np.float32, copy=False)
    steps = raw.astype(np.int32) - spec.zero_point
    return steps.astype(np.float32) * np.float32(spec.scale)


def threads_or_all(threads: int) -> int:
    """The number asked for, or one for each core this process may use."""
    if threads > 0:
        return threads
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
