"""`report.html`: how well the model does and what it was made of, for people to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.clip import film_strip
from edge_runtime.evaluation.curves import roc_curves
from edge_runtime.evaluation.figures import MAX_CURVES, roc_figure
from edge_runtime.page import render_page, thumbnail_data_uri
from trainer.dataset import Dataset
from trainer.evaluation import Evaluation
from trainer.figures import confusion_figure, learning_curve
from trainer.fit_state import FitState
from trainer.record import DataEntry, TrainingRecord

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"
MAX_THUMBNAILS = 16
THUMBNAIL_SIDE = 128
MAX_SKIPPED_ROWS = 50


@dataclass(frozen=True)
class Thumbnail:
    """A held-out picture as the model saw it, with its answer."""

    uri: str
    path: str
    truth: str
    answer: str
    score: str


def render_report(
    name: str, record: TrainingRecord, dataset: Dataset, evaluation: Evaluation, state: FitState
) -> str:
    """The page's text."""
    curves = roc_curves(record.labels, evaluation.pixels.labels, evaluation.probabilities)
    wrong, right = _wrong_and_right(evaluation)
    return render_page(
        TEMPLATE,
        name=name,
        record=record,
        created=datetime.fromisoformat(record.created).strftime("%Y-%m-%d %H:%M UTC"),
        best_epoch=state.best_epoch,
        epochs=state.epochs,
        duration=_duration(record.seconds),
        parameters=_magnitude(record.model.parameters),
        curves={
            name: learning_curve(record.history, name, state.best_epoch)
            for name in ("loss", "accuracy")
        },
        confusion=confusion_figure(record.labels, record.metrics),
        roc=roc_figure(curves) if curves else None,
        roc_note=f"The {MAX_CURVES} hardest classes." if len(curves) > MAX_CURVES else "",
        class_rows=_class_rows(record),
        wrong=_thumbnails(record, evaluation, wrong[:MAX_THUMBNAILS]),
        wrong_count=len(wrong),
        right=_thumbnails(record, evaluation, _spread(right, MAX_THUMBNAILS)),
        pixelated=record.preprocess.width < THUMBNAIL_SIDE // 2,
        count_rows=_count_rows(record.labels, record.data),
        split_note=_split_note(dataset),
        skipped_rows=[(s.path, s.why) for s in record.data.skipped[:MAX_SKIPPED_ROWS]],
        provenance=_provenance(record),
    )


def _wrong_and_right(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each, the surest answer first."""
    order = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    is_right = evaluation.answers[order] == evaluation.pixels.labels[order]
    return order[~is_right], order[is_right]


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """So many of the rows, evenly from first to last."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _thumbnails(
    record: TrainingRecord, evaluation: Evaluation, rows: np.ndarray
) -> list[Thumbnail]:
    pixels, labels = evaluation.pixels, record.labels
    made = []
    for row, input_rgb in zip(rows, pixels.inputs(rows), strict=True):
        frame_bgr = cv2.cvtColor(film_strip(input_rgb), cv2.COLOR_RGB2BGR)
        made.append(
            Thumbnail(
                uri=thumbnail_data_uri(frame_bgr, THUMBNAIL_SIDE),
                path=pixels.pictures[row].path,
                truth=labels[pixels.labels[row]],
                answer=labels[evaluation.answers[row]],
                score=f"{evaluation.probabilities[row].max():.0%}",
            )
        )
    return made


def _class_rows(record: TrainingRecord) -> list[tuple[Any, ...]]:
    return [
        (
            row.label,
            row.support,
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.f1:.3f}",
            "-" if row.auc is None else f"{row.auc:.3f}",
        )
        for row in record.metrics.per_class
    ]


def _count_rows(labels: tuple[str, ...], data: DataEntry) -> list[tuple[Any, ...]]:
    parts = [[label for _, label in part] for part in (data.train, data.val, data.test)]
    rows = [(name, *(part.count(i) for part in parts)) for i, name in enumerate(labels)]
    return [*rows, ("all", *(len(part) for part in parts))]


def _split_note(dataset: Dataset) -> str:
    if dataset.split_by == "user":
        return "Split into train, val and test as it was found."
    return "Split by edgeproof at random, the same share of every class; the seed decides which."


def _provenance(record: TrainingRecord) -> list[tuple[str, str]]:
    apart = ("stages", "recipe")
    options = {name: value for name, value in record.options.items() if name not in apart}
    recipe = {k: v for k, v in record.options["recipe"].items() if v or k == "schedule"}
    stages = [
        f"{s['name']}: at most {s['epochs']} epochs, learning rate from {s['learning_rate']:g}, "
        f"patience {s['patience']}"
        for s in record.options["stages"]
    ]
    return [
        ("Command", record.command or "trained from Python"),
        ("Pictures", " in ".join(filter(None, [record.data.origin, record.data.root]))),
        ("Options", ", ".join(f"{name} {value}" for name, value in options.items())),
        ("Stages", "; ".join(stages)),
        ("Recipe", ", ".join(f"{name} {value}" for name, value in recipe.items())),
        ("Head", record.head.kind),
        ("Temperature", _temperature(record)),
        ("Model", f"{record.model.path}, SHA-256 {record.model.sha256}"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
        ("edgeproof", record.edgeproof),
    ]


def _temperature(record: TrainingRecord) -> str:
    found = record.temperature
    if found is None:
        return "none"
    return (
        f"{found.value:.3g}, fitted on {found.samples} val pictures: their expected calibration "
        f"error goes from {found.ece_before:.1%} to {found.ece_after:.1%}"
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _magnitude(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f} k" if count < 1_000_000 else f"{count / 1e6:.1f} M"
