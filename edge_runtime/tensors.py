"""Raw tensors: what a model answers where it is not one probability per label.

Boxes, maps and feature vectors have units and sizes of their own. To be compared and recorded like
probabilities, each output's numbers are divided by its `range`, and all outputs stand in one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.errors import TensorError
from edge_runtime.text import printable

# More numbers for one picture than any head of the edge answers.
MAX_NUMBERS = 1 << 25
MAX_OUTPUTS = 64

TensorType = Literal[
    "float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"
]
_Side = Annotated[int, Field(ge=1, le=MAX_NUMBERS)]


class TensorOutput(BaseModel):
    """One output of a model.

    Attributes:
        name: the tensor's in every model file of the bundle.
        shape: of the answer to one picture, without the batch axis; all of it fixed.
        dtype: what the trained model answers; quantised files are brought back to it.
        range: the largest number less the smallest that the trained model answered to the pictures
            of the proof, 1 where all are the same: errors are relative to it.
        whole: whether those were whole numbers, such as classes and counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    shape: Annotated[tuple[_Side, ...], Field(max_length=8)]
    dtype: TensorType = "float32"
    range: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    whole: bool = False

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def text(self) -> str:
        """Such as `boxes 10x4`."""
        return f"{self.name} {'x'.join(map(str, self.shape)) or 'one number'}"

    def typed(self, values: np.ndarray) -> np.ndarray:
        """Numbers as the trained model's type has them."""
        if self.dtype.startswith("float"):
            return values.astype(self.dtype, copy=False)
        return np.rint(np.nan_to_num(values)).astype(self.dtype)


def some_outputs(outputs: Sequence[TensorOutput], most: int = 4) -> str:
    """The first few, in words for one line."""
    shown = [printable(output.text) for output in outputs[:most]]
    return ", ".join([*shown, *(["…"] if len(outputs) > most else [])])


def numbers(outputs: Sequence[TensorOutput]) -> int:
    """How many numbers all outputs have for one picture."""
    return sum(output.size for output in outputs)


def slices(outputs: Sequence[TensorOutput]) -> Iterator[tuple[TensorOutput, slice]]:
    """Where each output's numbers stand in a row of all."""
    start = 0
    for output in outputs:
        yield output, slice(start, start + output.size)
        start += output.size


def joined(
    answers: Mapping[str, np.ndarray] | Sequence[np.ndarray], outputs: Sequence[TensorOutput]
) -> np.ndarray:
    """One row a picture: float32, (samples, numbers), each output relative to its range.

    Args:
        answers: of each output, by name or in order: (samples, *shape), in its own units.
    """
    rows = answers if not isinstance(answers, Mapping) else [answers[o.name] for o in outputs]
    parts = [
        np.asarray(row, np.float32).reshape(len(row), output.size) / np.float32(output.range)
        for row, output in zip(rows, outputs, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def shaped(name: str, values: np.ndarray, output: TensorOutput) -> np.ndarray:
    """One picture's answer in the output's shape, whatever axes of 1 its file has.

    Args:
        name: what an error calls the engine.

    Raises:
        TensorError: when it has another number of numbers.
    """
    if values.size != output.size:
        raise TensorError(
            f"{name} answers {values.shape} as {output.name!r}; the bundle says {output.shape}."
        )
    return values.reshape(output.shape)
