"""`training.json`: what a run was made of and how well it does, for programs to read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.clip import Clip
from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess
from edge_runtime.temperature import Temperature
from trainer.errors import ResumeError

RECORD_NAME = "training.json"
MODEL_NAME = "model.keras"
REPORT_NAME = "report.html"
SCHEMA_VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEntry(_Part):
    """The trained model, beside this file.

    Attributes:
        parameters: numbers in it, learnt or not.
    """

    path: str
    sha256: str
    parameters: int


class SkippedEntry(_Part):
    """A file in a class folder that was not used, and why."""

    path: str
    why: str


class DataEntry(_Part):
    """Which pictures were used for what.

    Attributes:
        root: absolute path of the folder that all pictures lie below.
        origin: what the user named, where that is another: a list, an archive, a set by name.
        train: (POSIX path below `root`, label index); `val` and `test` likewise.
        held_out: the part that the metrics were measured on.
    """

    root: str
    origin: str = ""
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]
    test: tuple[tuple[str, int], ...]
    skipped: tuple[SkippedEntry, ...]
    held_out: Literal["test", "val"]


class ClassMetrics(_Part):
    """How well one class is told from the others.

    Attributes:
        support: its pictures in the held-out part.
        auc: area under its ROC curve against all others; `None` where a side has no picture.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    auc: float | None


class Metrics(_Part):
    """Measured on the held-out part.

    Attributes:
        samples: pictures in it.
        accuracy: fraction answered right.
        accuracy_low: lower end of the accuracy's 95 % Wilson interval; `accuracy_high` likewise.
        auc: mean over the classes that have one.
        confusion: rows are the right labels, columns the answers.
        also_in_train: held-out pictures whose pixels are in the training part as well.
    """

    samples: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    auc: float | None
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    also_in_train: int


class TrainingRecord(_Part):
    """The whole of `training.json`.

    Attributes:
        created: ISO 8601 time.
        command: what the user typed; empty when trained from Python.
        options: every option, with the values that were used where none was given.
        history: one number for each epoch, by name.
        clip: how many frames, how far apart, the model looks at; `None`: at one picture.
        temperature: what makes scores mean what they say, fitted on the validation part; the
            metrics are of the model as it is.
        versions: of Python and the packages that shaped the model.
        seconds: time spent in epochs, over all resumed pieces.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    edgeproof: str
    created: str
    command: str
    architecture: str
    options: dict[str, Any]
    labels: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    clip: Clip | None = None
    head: Head
    model: ModelEntry
    data: DataEntry
    history: dict[str, list[Any]]
    metrics: Metrics
    temperature: Temperature | None = None
    versions: dict[str, str]
    seconds: float

    def to_json(self) -> str:
        """The file's text, one picture a line."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        return _PAIR.sub(r"[\1, \2]", text) + "\n"


# A quote inside a JSON string has a backslash before it, so this never matches within one.
_PAIR = re.compile(r'\[\s+("(?:[^"\\]|\\.)*"),\s+(\d+)\s+\]')


def read_record(folder: Path) -> TrainingRecord:
    """Read a finished run's record.

    Raises:
        ResumeError: when it is damaged or of another edgeproof.
    """
    file = folder / RECORD_NAME
    try:
        return TrainingRecord.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as exc:
        raise ResumeError(
            f"{file}: cannot be read as a training record; train again with --overwrite."
        ) from exc
