"""A model that edgeproof did not train, made ready to be converted and proven like one it did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.errors import RunError
from converters.keras2 import keras_of
from converters.prove import reference_probabilities
from converters.run_folder import DataEntry, ModelEntry, Photographs, TrainingRecord
from converters.subject import Subject
from edge_runtime.files import sha256_file
from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess
from edge_runtime.progress import progress_bar


def taking_pixels(model: Any, *, scale: float, offset: float = 0.0) -> Any:
    """The same model for uint8 pixels: `pixels * scale + offset` is what it took before.

    Its layers are laid anew behind the scaling instead of as one layer, so that reports and
    repair go on naming them.

    Args:
        model: Keras model, of Keras 3 or tf_keras: float32 (batch, H, W, 3) to (batch, units).

    Raises:
        RunError: when it does not take one picture of fixed size.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:] or shape[-1] != 3:
        raise RunError(f"{model.name}: takes {shape}; one picture (batch, H, W, 3) is needed.")
    keras = keras_of(model)
    image = keras.Input(shape[1:], dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(scale, offset=offset, name="pixel_scaling")(image)
    return keras.Model(image, model.call(scaled, training=False), name=model.name)


def subject_from_model(
    model: Any,
    *,
    file: Path,
    labels: Sequence[str],
    preprocess: Preprocess,
    head: Head,
    held_out: Photographs,
    calibration: Photographs,
    name: str = "",
) -> Subject:
    """What `convert_subject` converts, of a model from elsewhere.

    The record says what is known: the file, its hash and the pictures. When and with what the
    model was trained stays empty.

    Args:
        model: Keras model, of Keras 3 or tf_keras: uint8 (batch, H, W, 3) to (batch, units).
        file: what it was loaded from.
        labels: in the order of the answers.
        held_out: pictures that, as far as the caller knows, training did not fit.
        calibration: pictures like those that the model will see.
        name: of the architecture; the model's own when empty.

    Raises:
        RunError: when the model is of another shape than `preprocess`, `head` and `labels` say.
        ConversionError: when the model answers NaN, or no probabilities.
    """
    wanted = (None, *preprocess.input_shape), (None, head.output_units(len(labels)))
    if (model.input_shape, model.output_shape) != wanted:
        raise RunError(
            f"{file}: maps {model.input_shape} to {model.output_shape}; {len(labels)} labels, head "
            f"{head.kind!r} and the preprocessing need {wanted[0]} to {wanted[1]}."
        )
    root = Path(os.path.commonpath([f.parent for f in (*held_out.files, *calibration.files)]))
    record = TrainingRecord(
        schema_version=1,
        architecture=name or model.name,
        labels=tuple(labels),
        preprocess=preprocess,
        head=head,
        model=ModelEntry(path=file.name, sha256=sha256_file(file)),
        data=DataEntry(
            root=str(root),
            train=_entries(calibration, root),
            val=(),
            test=_entries(held_out, root),
            held_out="test",
        ),
    )
    with progress_bar("the trained model's answers", len(held_out.inputs)) as advance:
        reference = reference_probabilities(model, head, held_out, advance)
    return Subject(file, record, model, held_out, calibration, reference)


def _entries(photographs: Photographs, root: Path) -> tuple[tuple[str, int], ...]:
    if photographs.labels is None:
        return ()  # a record names pictures with their labels
    files = (file.relative_to(root).as_posix() for file in photographs.files)
    return tuple(zip(files, map(int, photographs.labels), strict=True))
