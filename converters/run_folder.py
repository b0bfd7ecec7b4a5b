"""Reading what the trainer left: the trained model, and the photographs it was made of.

The converters know `training.json` as a documented file, not the trainer's code: whatever writes
the same file can be converted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from converters.errors import RunError, brief
from edge_runtime.clip import Clip, input_shape, read_input
from edge_runtime.errors import ImageError
from edge_runtime.files import sha256_file
from edge_runtime.head import Head
from edge_runtime.manifest import RelativePath, Sha256
from edge_runtime.preprocess import Preprocess
from edge_runtime.progress import status_line, track
from edge_runtime.temperature import Temperature

RECORD_NAME = "training.json"
MAX_RECORD_BYTES = 256 << 20
SCHEMA_VERSION = 1


def _below_root(text: str) -> str:
    """People name photographs as they like (`12:30 ~ beach.jpg`), but they lie below the root."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"unsafe path {text!r}: photographs lie below the data folder")
    return text


PicturePath = Annotated[str, AfterValidator(_below_root)]


class _Part(BaseModel):
    # The record says more than is needed here.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelEntry(_Part):
    """Where the trained model lies in the run's folder."""

    path: RelativePath
    sha256: Sha256


class DataEntry(_Part):
    """Which photographs were used for what: (path below root, label index)."""

    root: str
    train: tuple[tuple[PicturePath, int], ...]
    val: tuple[tuple[PicturePath, int], ...]
    test: tuple[tuple[PicturePath, int], ...]
    held_out: Literal["val", "test"]


class TrainingRecord(_Part):
    """What the converters read of `training.json`."""

    schema_version: Literal[1]
    architecture: str = "?"
    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    clip: Clip | None = None
    head: Head
    model: ModelEntry
    data: DataEntry
    temperature: Temperature | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    command: str = ""

    @model_validator(mode="after")
    def _labels_exist(self) -> TrainingRecord:
        for path, index in (*self.data.train, *self.data.val, *self.data.test):
            if not 0 <= index < len(self.labels):
                raise ValueError(f"{path} has label {index} of {len(self.labels)} labels")
        return self


class TensorRecord(TrainingRecord):
    """The same of a model that answers raw tensors: it has no labels."""

    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Photographs:
    """Preprocessed real pictures, or clips.

    Attributes:
        files: where each came from.
        inputs: uint8, (samples, H, W, 3), as `Preprocess` makes them; (samples, frames, H, W, 3) of
            clips.
        labels: int64, (samples,): index of the right label; `None` where nobody knows them.
    """

    files: tuple[Path, ...]
    inputs: np.ndarray
    labels: np.ndarray | None

    def first(self, count: int) -> Photographs:
        """The first so many; they are in random order."""
        labels = None if self.labels is None else self.labels[:count]
        return Photographs(self.files[:count], self.inputs[:count], labels)


def read_record(run: Path) -> TrainingRecord:
    """Read a run's `training.json`.

    Raises:
        RunError: when there is none, or it is not one.
    """
    file = run / RECORD_NAME
    if not file.is_file():
        if run.is_file():
            raise RunError(
                f"{run}: is a file, not the folder that `edgeproof train` made; the command line "
                "takes model files as well (docs/foreign.md)."
            )
        hint = f"it holds no {RECORD_NAME}; was training finished?" if run.is_dir() else ""
        raise RunError(f"{run}: no training run there ({hint or 'no such folder'}).")
    try:
        if file.stat().st_size > MAX_RECORD_BYTES:
            raise RunError(f"{file}: larger than any training record.")
        raw = json.loads(file.read_bytes())
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RunError(f"{file}: is of schema {version}, newer than this edgeproof; update it.")
        return TrainingRecord.model_validate(raw)
    except RunError:
        raise  # it is a ValueError too
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{file}: {where}: {first['msg']}; train again.") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise RunError(f"{file}: cannot be read: {exc}; train again.") from exc


def checked_model_file(run: Path, record: TrainingRecord) -> Path:
    """The trained model's file, after checking its hash.

    Raises:
        RunError: when it is missing or changed.
    """
    file = run / record.model.path
    if not file.is_file():
        raise RunError(f"{file}: is missing; train again.")
    if sha256_file(file) != record.model.sha256:
        raise RunError(f"{file}: is not the model that {RECORD_NAME} speaks of; train again.")
    return file


def load_model(file: Path, record: TrainingRecord) -> Any:
    """Load the trained Keras model.

    Raises:
        RunError: when it does not load, or is another than the record says.
    """
    with status_line("loading TensorFlow"):
        from converters.keras_quiet import keras

    try:
        # Safe mode refuses layers that carry code.
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as exc:  # Keras raises whatever it meets
        raise RunError(f"{file}: does not load: {brief(exc)}") from exc
    wanted = (None, *input_shape(record.preprocess, record.clip))
    units = record.head.output_units(len(record.labels))
    if model.input_shape != wanted or model.output_shape != (None, units):
        raise RunError(
            f"{file}: maps {model.input_shape} to {model.output_shape}; {RECORD_NAME} says "
            f"{wanted} to {(None, units)}."
        )
    return model


def load_photographs(
    root: Path,
    entries: Sequence[tuple[str, int]],
    preprocess: Preprocess,
    clip: Clip | None = None,
    *,
    limit: int,
    seed: int,
    description: str,
) -> Photographs:
    """Decode and preprocess up to `limit` of the photographs, chosen at random by `seed`.

    Raises:
        RunError: when a photograph is gone or unreadable; the proof would be of other pictures.
    """
    if not entries:
        raise RunError(f"{root}: the training record names no photographs for {description}.")
    chosen = np.random.default_rng(seed).permutation(len(entries))[:limit]
    # In that random order: the first few are of all classes.
    picked = [entries[i] for i in chosen]
    files = tuple(root / path for path, _ in picked)
    inputs = np.empty((len(files), *input_shape(preprocess, clip)), np.uint8)
    for row, file in enumerate(track(files, description)):
        try:
            inputs[row] = read_input(file, preprocess, clip)
        except ImageError as exc:
            raise RunError(
                f"{exc} The run was trained on it; put the photographs back, or name their folder "
                "with --data."
            ) from exc
    return Photographs(files, inputs, np.array([label for _, label in picked], np.int64))
