"""Which output of a converted file is which of the model's: by what it answers.

Converters sort outputs by name, number them anew, or keep their order; some turn NCHW into NHWC.
What a file answers to a few pictures tells for certain which output is which; where two are alike
in that, their names do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from converters.errors import ConversionError
from edge_runtime.tensors import TensorOutput

# A float conversion is nearer than this, relative to the output's range; another output is not.
_NEAR = 0.01
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Place:
    """Where a file has an output.

    Attributes:
        name: what it is to be called.
        index: its place among the file's outputs.
        perm: how its axes, with the batch's, must be exchanged; `None`: not at all.
    """

    name: str
    index: int
    perm: tuple[int, ...] | None = None


def in_order(outputs: Sequence[TensorOutput]) -> tuple[Place, ...]:
    """The places in the model's own file."""
    return tuple(Place(output.name, index) for index, output in enumerate(outputs))


def places_of(
    outputs: Sequence[TensorOutput],
    wanted: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
    names: Sequence[str],
    file: str,
) -> tuple[Place, ...]:
    """The place of each of a model's outputs in a converted file.

    Args:
        wanted: what the model answers to a few pictures, by output: (samples, *shape).
        given: what the file answers to them, with whatever axes it has behind the first.
        names: what the file calls its outputs.
        file: what an error calls it.

    Raises:
        ConversionError: when an output is not there, or it cannot be told which it is.
    """
    found: list[Place] = []
    for output, answers in zip(outputs, wanted, strict=True):
        near = [
            Place(output.name, index, perm)
            for index, values in enumerate(given)
            for perm in _perms(output, values)
            if _is_near(answers, values, perm, output)
        ]
        named = [place for place in near if names[place.index] == output.name]
        places = {place.index: place for place in reversed(named or near)}
        if not places:
            raise ConversionError(f"no output of {file} answers as the model's {output.name!r}.")
        if len(places) > 1:
            alike = ", ".join(repr(names[index]) for index in sorted(places))
            raise ConversionError(
                f"{alike} of {file} all answer as the model's {output.name!r} does, so that it "
                "cannot be told which is which; give the model's outputs names, or more pictures."
            )
        found += places.values()
    return tuple(found)


def _perms(output: TensorOutput, values: np.ndarray) -> Iterator[tuple[int, ...] | None]:
    if values[0].size != output.size:
        return
    plain = tuple(n for n in values.shape[1:] if n != 1)
    if plain == tuple(n for n in output.shape if n != 1):
        yield None
    if values.ndim == 4 and len(output.shape) == 3:
        for perm in (_TO_LAST, _TO_FIRST):
            if tuple(values.shape[axis] for axis in perm)[1:] == output.shape:
                yield perm


def _is_near(
    wanted: np.ndarray, values: np.ndarray, perm: tuple[int, ...] | None, output: TensorOutput
) -> bool:
    turned = values if perm is None else values.transpose(perm)
    off = np.abs(turned.reshape(wanted.shape).astype(np.float64) - wanted)
    # The mean: of boxes that are sorted by score a few may change places.
    return bool(np.isfinite(off).all() and off.mean() <= _NEAR * output.range)
