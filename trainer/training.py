"""From a folder of pictures to a trained model with its record and report."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import StorageError
from edge_runtime.files import require_writable_folder, sha256_file, staged_file, write_text
from edge_runtime.head import Head
from edge_runtime.progress import print_note, silence
from trainer.augment import augmentation
from trainer.dataset import Dataset
from trainer.errors import (
    InterruptedTrainingError,
    MissingPackageError,
    OptionError,
    RunExistsError,
)
from trainer.evaluation import Evaluation, evaluate
from trainer.fit import FitPlan, fit
from trainer.fit_state import CHECKPOINT_NAME, FitState
from trainer.monitors import monitors, require_monitor_packages
from trainer.options import Settings, TrainOptions, resolve
from trainer.own_folder import own_folder
from trainer.pictures import Pixels
from trainer.preparing import prepare
from trainer.record import (
    MODEL_NAME,
    RECORD_NAME,
    REPORT_NAME,
    DataEntry,
    ModelEntry,
    SkippedEntry,
    TrainingRecord,
    read_record,
)
from trainer.report import render_report
from trainer.team import (
    ALONE,
    Team,
    TeamOptions,
    join_team,
    leave_team,
    require_same,
    while_all_live,
)
from trainer.weights import weights_sha256

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, and its record."""

    folder: Path
    record: TrainingRecord

    @property
    def model(self) -> Path:
        return self.folder / MODEL_NAME

    @property
    def report(self) -> Path:
        return self.folder / REPORT_NAME


def train(data: str | Path, out: str | Path, options: TrainOptions | None = None) -> TrainedRun:
    """Train a model on a set of pictures.

    Args:
        data: class folders, directly or below `train/`, `val/`, `test/`; a list (.csv, .jsonl), an
            archive, `digits`, or `tfds:NAME`.
        out: folder for `model.keras`, `training.json` and `report.html`.

    Raises:
        DataError: when the pictures cannot be learnt from.
        OptionError: when an option cannot be.
        RunExistsError: when `out` holds a run and `options` says nothing about it.
        EdgeproofError: for all else that can go wrong; see `trainer.errors`.

    >>> train("photos", "runs/pets").record.metrics.accuracy   # doctest: +SKIP
    0.98
    """
    run = _train(data, out, options or TrainOptions(), ALONE)
    assert run is not None  # alone, this process leads
    return run


def train_together(
    data: str | Path, out: str | Path, options: TrainOptions, team: TeamOptions
) -> TrainedRun | None:
    """The same on several devices, processes or hosts, each of which calls it with the same.

    `options.batch_size` is that of all together, so that the losses are those of one process.

    Returns:
        The run in the process that leads; `None` in the others, which write nothing.

    Raises:
        TeamError: when the processes do not find each other, or one of them dies.
        EdgeproofError: as `train`.
    """
    resolve(options)  # nobody should wait for others because of a misspelt option
    joined = join_team(team)
    with while_all_live(joined), nullcontext() if joined.leads else silence():
        return _train(data, out, options, joined)


def _train(
    data: str | Path, out: str | Path, options: TrainOptions, team: Team
) -> TrainedRun | None:
    data, out = str(data), Path(out)
    resolve(options)  # a misspelt option is told of before anything is looked at
    _require_free(data, out, options)
    if options.resume and _is_finished(out):
        print_note(f"{out}: was finished before, and is left as it is; --overwrite trains anew.")
        return TrainedRun(out, read_record(out)) if team.leads else None
    require_packages("Training")
    require_monitor_packages(options.tensorboard, options.mlflow)
    require_writable_folder(out)
    held = own_folder(out) if team.leads else nullcontext()
    with held, _kept_if_begun(out, overwrite=options.overwrite):
        settled = _require_same_settings if team.processes > 1 else lambda settings: None
        prepared = prepare(data, options, scratch=out, tell=print_note, settled=settled)
        settings, dataset, head = prepared.settings, prepared.dataset, prepared.head
        core = prepared.core
        plan = _plan(settings, dataset, head, out, resume=options.resume, team=team)
        state = _fit_watched(core, dataset, plan, options, settings, name=out.name)
        if not team.is_one_device:
            weights = core.get_weights()
            leave_team()
            if not team.leads:
                return None
            core = prepared.new_core()
            core.set_weights(weights)
        evaluation = evaluate(core, head, dataset, batch_size=settings.batch_size)
        return _write(core, out, _Parts(options, settings, dataset, head, state, evaluation))


def _fit_watched(
    core: keras.Model,
    dataset: Dataset,
    plan: FitPlan,
    options: TrainOptions,
    settings: Settings,
    *,
    name: str,
) -> FitState:
    if not plan.team.leads:
        return fit(core, dataset.train, dataset.val, plan)
    settled = {"architecture": settings.architecture.name, **settings.as_dict()}
    with monitors(options.tensorboard, options.mlflow, name=name, settings=settled) as told:
        return fit(core, dataset.train, dataset.val, replace(plan, monitors=told))


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a record is put together from."""

    options: TrainOptions
    settings: Settings
    dataset: Dataset
    head: Head
    state: FitState
    evaluation: Evaluation


def _is_finished(out: Path) -> bool:
    return (out / RECORD_NAME).exists() and not (out / CHECKPOINT_NAME).exists()


def _require_free(data: str, out: Path, options: TrainOptions) -> None:
    require_apart(data, out)
    if options.resume or options.overwrite:
        return
    if (out / CHECKPOINT_NAME).exists():
        raise RunExistsError(
            f"{out}: holds an unfinished training; continue it with --resume, or begin anew with "
            "--overwrite."
        )
    if (out / RECORD_NAME).exists():
        raise RunExistsError(
            f"{out}: holds a finished run; choose another --out, or --overwrite it."
        )


def require_packages(what: str) -> None:
    """Raises MissingPackageError where one is missing that the workstation needs."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for name in (backend, "keras", "sklearn", "matplotlib", "jinja2"):
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(
                f"{what} needs {name}, which is not installed: pip install 'edgeproof[train]'."
            )


def require_apart(data: str, out: Path) -> None:
    """Raises OptionError or StorageError when `out` cannot be a folder of its own."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: is a file; choose another folder for --out.")
    folder = Path(data).expanduser()
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise OptionError(
            f"{out}: lies inside the pictures' folder, where it would be taken for a class; choose "
            "another place for --out."
        )


@contextmanager
def _kept_if_begun(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Say on Ctrl-C what is kept."""
    try:
        yield
    except KeyboardInterrupt as exc:
        if (out / CHECKPOINT_NAME).exists():
            raise InterruptedTrainingError(
                f"interrupted; {out / CHECKPOINT_NAME} keeps every epoch that was done. Continue "
                f"with the same command and --resume{' in place of --overwrite' * overwrite}."
            ) from exc
        raise InterruptedTrainingError(
            "interrupted before the first epoch was done; nothing is kept."
        ) from exc


def _plan(
    settings: Settings, dataset: Dataset, head: Head, out: Path, *, resume: bool, team: Team
) -> FitPlan:
    checkpoint = out / CHECKPOINT_NAME
    if team.leads and not resume:
        checkpoint.unlink(missing_ok=True)  # of the run that --overwrite replaces
    identity = {
        "architecture": settings.architecture.name,
        **settings.as_dict(),
        "weights": weights_sha256(settings.weights) or settings.weights,
        "labels": list(dataset.labels),
        "training pictures": _fingerprint(dataset.train),
        "validation pictures": _fingerprint(dataset.val),
    }
    return FitPlan(
        stages=settings.stages,
        recipe=settings.recipe,
        head=head,
        augmentation=augmentation(settings.augment),
        batch_size=settings.batch_size,
        seed=settings.seed,
        checkpoint=checkpoint,
        identity=identity,
        resume=resume,
        team=team,
    )


def _require_same_settings(settings: Settings) -> None:
    """Before weights are made: processes that make others are told of by matrices of them."""
    require_same("what they train", _number(settings))


def _number(settings: Settings) -> int:
    """The same for the same settings, and hardly for others: what processes compare."""
    plain = json.dumps([settings.architecture.name, settings.as_dict()], sort_keys=True)
    return zlib.crc32(plain.encode()) & 0x7FFFFFFF


def _fingerprint(pixels: Pixels) -> str:
    return f"{len(pixels)} ({pixels.sha256()[:16]})"


def _write(core: keras.Model, out: Path, parts: _Parts) -> TrainedRun:
    """Model, report, record, in that order: with the record the run is finished."""
    from trainer.keras_quiet import keras

    with staged_file(out / MODEL_NAME) as part:
        keras.saving.save_model(core, part)
        entry = ModelEntry(
            path=MODEL_NAME, sha256=sha256_file(part), parameters=core.count_params()
        )
        record = _record(parts, entry)
        page = render_report(out.name, record, parts.dataset, parts.evaluation, parts.state)
        # Nothing can fail any more that is of our making: the run it replaces may go.
        (out / RECORD_NAME).unlink(missing_ok=True)
    write_text(out / REPORT_NAME, page)
    write_text(out / RECORD_NAME, record.to_json())
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    return TrainedRun(out, record)


def _record(parts: _Parts, model: ModelEntry) -> TrainingRecord:
    dataset = parts.dataset
    return TrainingRecord(
        edgeproof=_version("edgeproof"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=parts.options.command,
        architecture=parts.settings.architecture.name,
        options=parts.settings.as_dict(),
        labels=dataset.labels,
        preprocess=parts.settings.preprocess,
        clip=parts.settings.clip,
        head=parts.head,
        model=model,
        data=DataEntry(
            root=str(dataset.root),
            origin=dataset.origin,
            train=_entries(dataset.train),
            val=_entries(dataset.val),
            test=_entries(dataset.test),
            skipped=tuple(SkippedEntry(path=s.path, why=s.why) for s in dataset.skipped),
            held_out=dataset.held_out_name,
        ),
        history=parts.state.history,
        metrics=parts.evaluation.metrics,
        temperature=parts.evaluation.temperature,
        versions=_versions(),
        seconds=round(parts.state.seconds, 3),
    )


def _entries(pixels: Pixels) -> tuple[tuple[str, int], ...]:
    return tuple((picture.path, picture.label) for picture in pixels.pictures)


def _versions() -> dict[str, Any]:
    from trainer.keras_quiet import keras

    packages = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
