"""A finished run as something that can be asked about pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.evaluation.examine import Examinee
from edge_runtime.evaluation.pictures import Labelled, labelled_folder
from edge_runtime.files import sha256_file
from edge_runtime.progress import status_line
from trainer.errors import DataError, ResumeError
from trainer.record import RECORD_NAME, TrainingRecord, read_record

if TYPE_CHECKING:
    import keras


def is_run(path: Path) -> bool:
    """Whether a finished training lies there."""
    return (path / RECORD_NAME).is_file()


def open_run(run: Path, data: Path | None, split: str | None) -> tuple[Examinee, Labelled]:
    """A run's model, and labelled pictures to ask it about; see `run_pictures`."""
    record = read_record(run)
    pictures = run_pictures(run, record, data, split)
    return run_examinee(run, record), pictures


def run_pictures(
    run: Path, record: TrainingRecord, data: Path | None, split: str | None
) -> Labelled:
    """The run's own pictures of a part where `data` is where training found them, else `data`'s.

    Raises:
        DataError: when they are gone, or that part of them is empty.
        LabelledDataError: when other data does not fit the model.
    """
    part = split or record.data.held_out
    entries = getattr(record.data, part)
    root = Path(record.data.root) if data is None else data
    own = data is None or (bool(entries) and all((root / path).is_file() for path, _ in entries))
    if not own:
        assert data is not None
        return labelled_folder(data, record.labels, split=split)
    if not entries:
        raise DataError(f"{run}: was trained without {part} pictures; name another --split.")
    files = tuple(root / path for path, _ in entries)
    if not files[0].exists():
        raise DataError(f"{files[0]}: is gone; name the folder where the pictures lie now.")
    truths = np.array([label for _, label in entries], np.int64)
    return Labelled(root, part, files, truths, part != "train")


def other_data(data: Path, labels: tuple[str, ...], split: str | None) -> Labelled:
    """Labelled pictures of a file. Raises DataError: there is no such kind yet."""
    raise DataError(f"{data}: is a file; name a folder that holds a folder for each class.")


def run_examinee(run: Path, record: TrainingRecord) -> Examinee:
    """The trained model itself, in Keras."""
    core = load_run_model(run, record)
    from trainer.keras_quiet import keras

    backend = keras.backend.backend()

    def ask(batch: np.ndarray) -> np.ndarray:
        return record.head.probabilities(np.asarray(core.predict_on_batch(batch)))

    return Examinee(
        title=run.resolve().name,
        runs_on=f"Keras {record.versions.get('keras', '?')} ({backend})",
        labels=record.labels,
        preprocess=record.preprocess,
        ask=ask,
        temperature=record.temperature,
        facts={"run": run.resolve().name, "sha256": record.model.sha256},
    )


def load_run_model(run: Path, record: TrainingRecord) -> keras.Model:
    """The trained model, after checking its hash.

    Raises:
        ResumeError: when the file is missing, changed, or does not load.
    """
    file = run / Path(record.model.path).name
    if not file.is_file() or sha256_file(file) != record.model.sha256:
        raise ResumeError(
            f"{file}: is missing, or not the model that {RECORD_NAME} speaks of; train again."
        )
    with status_line("loading TensorFlow"):
        from trainer.keras_quiet import keras
    try:
        # Safe mode refuses layers that carry code.
        model: Any = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as exc:  # Keras raises whatever it meets
        raise ResumeError(f"{file}: does not load: {' '.join(str(exc).split())[:300]}") from exc
    return model
