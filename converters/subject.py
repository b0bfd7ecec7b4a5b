"""What is being converted: a trained model with the real pictures that judge it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from converters.prove import reference_probabilities
from converters.rehearsal import Rehearsal
from converters.run_folder import (
    Photographs,
    TrainingRecord,
    checked_model_file,
    load_model,
    load_photographs,
    read_record,
)
from edge_runtime.progress import progress_bar
from edge_runtime.tensors import TensorOutput, slices
from edge_runtime.text import printable

# Fewer pictures than this show a quantiser no range worth the name.
FEW_CALIBRATION = 20
# Ways of repairing are compared on so many of them.
REHEARSAL_PICTURES = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model, ready to be converted and compared.

    Attributes:
        model: the Keras model, uint8 (batch, H, W, 3) to (batch, units), or a `TrainedModel`.
        held_out: pictures that training did not fit.
        calibration: pictures of the training set.
        reference: float32, (held out, labels): the model's own probabilities.
        taken: of a model from elsewhere, what is known of it from where, in words.
        doubts: what else makes the proof worth less, in words.
        outputs: of a model that answers raw tensors; `reference` then is as `tensors.joined` has
            them, and nobody has labelled anything.
    """

    run: Path
    record: TrainingRecord
    model: Any
    held_out: Photographs
    calibration: Photographs
    reference: np.ndarray
    taken: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    outputs: tuple[TensorOutput, ...] = ()

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """A few calibration pictures with the model's own probabilities."""
        part = self.calibration.first(REHEARSAL_PICTURES)
        head = self.record.head
        reference = reference_probabilities(self.model, head, part, lambda _: None)
        return Rehearsal(part.inputs, reference)

    def warnings(self) -> Iterator[str]:
        """What makes this proof worth less, in words."""
        yield from self.doubts
        yield from self._sameness()
        if len(self.calibration.inputs) < FEW_CALIBRATION:
            yield (
                f"Only {len(self.calibration.inputs)} calibration pictures: int8 and int16x8 take "
                f"their ranges from them; {FEW_CALIBRATION} are few, 200 are good."
            )

    def _sameness(self) -> Iterator[str]:
        """A model that answers all pictures alike is easy to agree with."""
        if self.outputs:
            still = [
                printable(o.name)
                for o, at in slices(self.outputs)
                if not np.ptp(self.reference[:, at], axis=0).any()
            ]
            if still and len(self.reference) > 1:
                yield (
                    f"The trained model answers the same {', '.join(still)} to all "
                    f"{len(self.reference)} pictures: that every file agrees with it says little."
                )
            return
        answers = np.unique(self.reference.argmax(axis=1))
        if len(answers) == 1:
            label = self.record.labels[int(answers[0])]
            yield (
                f"The trained model answers {label!r} for all {len(self.reference)} pictures: that "
                "every file agrees with it says little. Look at the training report; of a model "
                "from elsewhere, ask whether --scale and --channels are those that it learnt with."
            )


def prepare(run: Path, *, data: Path | None, samples: int, calibration: int, seed: int) -> Subject:
    """Load a run and its photographs, and ask the trained model for its answers.

    Args:
        data: where the photographs lie now; `None` for where training found them.
        samples, calibration: at most so many held-out and training pictures, chosen by `seed`.

    Raises:
        RunError: when the run is damaged or its photographs are gone.
        ConversionError: when the model answers NaN, or no probabilities.
    """
    record = read_record(run)
    model_file = checked_model_file(run, record)
    root = data or Path(record.data.root)
    entries = record.data.test if record.data.held_out == "test" else record.data.val
    held_out = load_photographs(
        root,
        entries,
        record.preprocess,
        record.clip,
        limit=samples,
        seed=seed,
        description="held-out pictures",
    )
    ranges = load_photographs(
        root,
        record.data.train,
        record.preprocess,
        record.clip,
        limit=calibration,
        seed=seed,
        description="calibration pictures",
    )
    model = load_model(model_file, record)
    with progress_bar("the trained model's answers", len(held_out.inputs)) as advance:
        reference = reference_probabilities(model, record.head, held_out, advance)
    return Subject(run, record, model, held_out, ranges, reference)
