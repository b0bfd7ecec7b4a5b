"""What is being converted: a trained model with the real pictures that judge it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.prove import reference_probabilities
from converters.run_folder import (
    Photographs,
    TrainingRecord,
    checked_model_file,
    load_model,
    load_photographs,
    read_record,
)
from edge_runtime.progress import progress_bar


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model, ready to be converted and compared.

    Attributes:
        model: the Keras model: uint8 (batch, H, W, 3) to (batch, units).
        held_out: pictures that training did not fit.
        calibration: pictures of the training set.
        reference: float32, (held out, labels): the model's own probabilities.
    """

    run: Path
    record: TrainingRecord
    model: Any
    held_out: Photographs
    calibration: Photographs
    reference: np.ndarray


def prepare(run: Path, *, data: Path | None, samples: int, calibration: int, seed: int) -> Subject:
    """Load a run and its photographs, and ask the trained model for its answers.

    Args:
        data: where the photographs lie now; `None` for where training found them.
        samples, calibration: at most so many held-out and training pictures, chosen by `seed`.

    Raises:
        RunError: when the run is damaged or its photographs are gone.
        ConversionError: when the model answers NaN.
    """
    record = read_record(run)
    model_file = checked_model_file(run, record)
    root = data or Path(record.data.root)
    entries = record.data.test if record.data.held_out == "test" else record.data.val
    held_out = load_photographs(
        root, entries, record.preprocess, limit=samples, seed=seed, description="held-out pictures"
    )
    ranges = load_photographs(
        root,
        record.data.train,
        record.preprocess,
        limit=calibration,
        seed=seed,
        description="calibration pictures",
    )
    model = load_model(model_file, record)
    with progress_bar("the trained model's answers", len(held_out.inputs)) as advance:
        reference = reference_probabilities(model, record.head, held_out, advance)
    return Subject(run, record, model, held_out, ranges, reference)
