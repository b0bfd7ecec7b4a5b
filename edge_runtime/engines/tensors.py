"""An engine whose model answers raw tensors, seen as one that answers a row of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.engines.base import Engine, TensorSpec, dequantized
from edge_runtime.errors import TensorError
from edge_runtime.tensors import TensorOutput, joined, numbers, shaped


class TensorEngine(Engine):
    """What another engine answers, each output by its name, or all of them in one row.

    The row is what proofs, matrices and recordings compare: see `tensors.joined`.
    """

    def __init__(self, engine: Engine, outputs: Sequence[TensorOutput]) -> None:
        """Raises TensorError when the model has not just these outputs, by name."""
        place = {spec.name: number for number, spec in enumerate(engine.outputs)}
        wanted = [output.name for output in outputs]
        if sorted(place) != sorted(wanted):
            raise TensorError(
                f"{engine.name} finds outputs {', '.join(place)}; the bundle says "
                f"{', '.join(wanted)}."
            )
        self._engine, self._tensors = engine, tuple(outputs)
        self._places = tuple(place[name] for name in wanted)
        self.name, self.version, self.threads = engine.name, engine.version, engine.threads
        self.placements, self.notes = engine.placements, engine.notes
        self.input = engine.input
        row = TensorSpec("tensors", (numbers(outputs),), np.dtype(np.float32))
        self.output, self.outputs = row, (row,)

    def close(self) -> None:
        super().close()
        self._engine.close()

    def tensors(self, picture: np.ndarray) -> list[np.ndarray]:
        """Each output for one picture, in the bundle's order: float32, of the output's shape.

        Args:
            picture: uint8, `input.shape`.

        Raises:
            TensorError: when it is of another shape, or an output is.
            EngineError: when the runtime fails.
        """
        raw = self._engine.infer_all(picture[np.newaxis])
        return [
            shaped(self.name, dequantized(raw[n], self._engine.outputs[n]), output)
            for n, output in zip(self._places, self._tensors, strict=True)
        ]

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        if not len(batch):
            return np.empty((0, *self.output.shape), np.float32)
        rows = [self.tensors(picture) for picture in batch]
        return np.concatenate(
            [joined([value[np.newaxis] for value in row], self._tensors) for row in rows]
        )
