"""A finished run as something that can be asked about pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.evaluation.examine import Examinee
from edge_runtime.evaluation.pictures import Labelled, labelled_folder
from edge_runtime.files import sha256_file
from edge_runtime.progress import status_line
from trainer.data.kinds import look
from trainer.errors import DataError, ResumeError
from trainer.reasons import reason_of
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
        if record.clip or data.is_dir():
            return labelled_folder(data, record.labels, split=split, clip=record.clip)
        return other_data(data, record.labels, split)
    if not entries:
        raise DataError(f"{run}: was trained without {part} pictures; name another --split.")
    files = tuple(root / path for path, _ in entries)
    if not files[0].exists():
        raise DataError(f"{files[0]}: is gone; name the folder where the pictures lie now.")
    truths = np.array([label for _, label in entries], np.int64)
    return Labelled(root, part, files, truths, part != "train")


def other_data(data: Path, labels: tuple[str, ...], split: str | None) -> Labelled:
    """Labelled pictures of a list (.csv, .jsonl), an archive, the digits, or `tfds:NAME`.

    Raises:
        DataError: when it cannot be read, lacks that part, or holds a class that is none of
            `labels`.
    """
    folder = look(str(data))
    by_name = {part or "": of_part for part, of_part in folder.parts.items()}
    usual = next((part for part in ("test", "val") if part in by_name), "")
    part = usual if split is None else split
    if part not in by_name:
        raise DataError(f"{data}: has no pictures of {part or 'no part'}; name another --split.")
    unknown = [label for label in folder.labels if label not in labels]
    if unknown:
        raise DataError(
            f"{data}: the model knows no class {unknown[0]!r}; it knows {', '.join(labels[:10])}."
        )
    pictures = by_name[part]
    if not pictures:
        raise DataError(f"{data}: names no picture{f' of {part}' if part else ''}.")
    truths = np.array([labels.index(folder.labels[p.label]) for p in pictures], np.int64)
    files = tuple(folder.root / picture.path for picture in pictures)
    held_out = {"test": True, "train": False}.get(part)
    return Labelled(data, part, files, truths, held_out)


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
        clip=record.clip,
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
        raise ResumeError(f"{file}: does not load: {reason_of(exc)}.") from exc
    return model
