"""A model of raw tensors as a subject: its outputs described, its answers as the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np

from converters.errors import ConversionError, RunError
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME
from converters.incoming.convention import Taken
from converters.incoming.facts import Facts, TensorFacts, plain_name
from converters.incoming.models import Model
from converters.incoming.pictures import Drawn, Found, draw, picture_doubts
from converters.onnx.graph import first_free
from converters.run_folder import DataEntry, ModelEntry, TensorRecord
from converters.subject import Subject
from edge_runtime.head import AS_THEY_ARE
from edge_runtime.progress import progress_bar
from edge_runtime.tensors import (
    MAX_NUMBERS,
    MAX_OUTPUTS,
    TensorOutput,
    TensorType,
    joined,
    some_outputs,
)
from edge_runtime.text import printable

# All variants' answers to all pictures are held at once: a head of a million numbers is compared on
# fewer pictures.
_MOST_BYTES = 96 << 20
_BATCH = 8
_PROBES = 3


def tensor_subject(
    path: Path,
    model: Model,
    facts: Facts,
    found: Found,
    given: Sequence[np.ndarray],
    taken: tuple[Taken, ...],
    *,
    samples: int,
    calibration: int,
    seed: int,
    sha256: str,
) -> Subject:
    """Draw pictures, and ask the model for its raw tensors.

    Args:
        given: what it answers to a few pictures, by output: (samples, *shape).

    Raises:
        RunError: when it answers more than can be packed.
        ConversionError: when its shapes depend on the picture, or it answers NaN.
    """
    size = _size(path, facts, given)
    room = max(1, _MOST_BYTES // (4 * size))
    drawn = draw(
        found,
        None,
        model.convention.preprocess,
        samples=min(samples, room),
        calibration=calibration,
        seed=seed,
    )
    inputs = drawn.held_out.inputs
    with progress_bar("the model's own answers", len(inputs)) as advance:
        parts = []
        for start in range(0, len(inputs), _BATCH):
            parts.append(model.tensors(inputs[start : start + _BATCH]))
            advance(len(parts[-1][0]))
    answers = [np.concatenate(of_output) for of_output in zip(*parts, strict=True)]
    _require_finite(facts, answers, drawn)
    outputs = described(facts.outputs, answers)
    model.outputs, model.probe = outputs, inputs[:_PROBES]
    record = TensorRecord(
        schema_version=1,
        architecture=path.name,
        preprocess=model.convention.preprocess,
        head=AS_THEY_ARE,
        model=ModelEntry(path="model", sha256=sha256),
        data=DataEntry(root=str(path.parent), train=(), val=(), test=(), held_out="test"),
    )
    doubts = picture_doubts(drawn)
    if samples > room < len(found.files):
        doubts.append(
            f"The model answers {size:,} numbers to a picture: it is compared on {len(inputs)} "
            "pictures, so that they fit in memory."
        )
    return Subject(
        run=path,
        record=record,
        model=model,
        held_out=drawn.held_out,
        calibration=drawn.calibration,
        reference=joined(answers, outputs),
        taken=(*map(str, taken), f"outputs: {some_outputs(outputs, MAX_OUTPUTS)} (from the file)"),
        doubts=tuple(doubts),
        outputs=outputs,
    )


def described(
    facts: Sequence[TensorFacts], answers: Sequence[np.ndarray]
) -> tuple[TensorOutput, ...]:
    """Each output by a name that every format takes, with what was answered.

    Args:
        answers: by output: (samples, *shape).
    """
    taken, found = {INPUT_NAME, OUTPUT_NAME}, []
    for number, (tensor, values) in enumerate(zip(facts, answers, strict=True)):
        name = first_free(_name(tensor.name) or f"output_{number}", taken)
        taken.add(name)
        low, high = float(values.min()), float(values.max())
        integer = tensor.scale == 0 and np.dtype(_dtype(tensor)).kind in "iub"
        moves = high > low
        found.append(
            TensorOutput(
                name=name,
                shape=values.shape[1:],
                dtype=_dtype(tensor),
                range=high - low if moves else 1.0,
                whole=integer or (moves and bool((values == np.rint(values)).all())),
            )
        )
    return tuple(found)


def _name(text: str) -> str:
    # What TensorFlow calls what nobody has named says nothing.
    return re.sub(r"^(StatefulPartitionedCall|PartitionedCall)[_:]*", "output_", plain_name(text))


def _dtype(tensor: TensorFacts) -> TensorType:
    known = tensor.scale == 0 and tensor.dtype in get_args(TensorType)
    return cast(TensorType, tensor.dtype) if known else "float32"


def _size(path: Path, facts: Facts, answers: Sequence[np.ndarray]) -> int:
    if len(answers) > MAX_OUTPUTS:
        raise RunError(f"{path}: has {len(answers)} outputs; at most {MAX_OUTPUTS} are packed.")
    size = sum(values[0].size for values in answers)
    empty = [t.name for t, v in zip(facts.outputs, answers, strict=True) if not v.size]
    if empty:
        raise ConversionError(
            f"{path}: output {printable(empty[0])!r} is empty for a picture, as when as many boxes "
            "are answered as are found; export it with a fixed number of them."
        )
    if size > MAX_NUMBERS:
        raise RunError(f"{path}: answers {size:,} numbers to a picture; {MAX_NUMBERS:,} at most.")
    return size


def _require_finite(facts: Facts, answers: Sequence[np.ndarray], drawn: Drawn) -> None:
    for tensor, values in zip(facts.outputs, answers, strict=True):
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise ConversionError(
                f"The model itself answers NaN or infinity as {printable(tensor.name)!r} for "
                f"{len(bad)} of {len(values)} pictures, such as {drawn.held_out.files[bad[0]]}."
            )
