"""An evaluation as a page for people and as a record for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edge_runtime.evaluation.answers import NO_ANSWER, first_labels
from edge_runtime.evaluation.cells import matrix
from edge_runtime.evaluation.curves import precision_recall_curves, roc_curves
from edge_runtime.evaluation.examine import Answers, Examinee
from edge_runtime.evaluation.figures import (
    MAX_CURVES,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)
from edge_runtime.evaluation.pictures import Labelled
from edge_runtime.evaluation.scores import Estimate, Scores, score
from edge_runtime.page import TEMPLATES, render_page
from edge_runtime.words import counted, interval, percent

SCHEMA_VERSION = 1
# A curve of every picture says no more to the eye, and fills a file.
_MAX_POINTS = 200


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model, what it was asked, what it answered, and how good that is."""

    examinee: Examinee
    pictures: Labelled
    answers: Answers
    scores: Scores

    @property
    def shown_scores(self) -> np.ndarray:
        """What each answer is given with, at the temperature: float32, (samples,)."""
        temperature, p = self.examinee.temperature, self.answers.probabilities
        return np.asarray((temperature(p) if temperature else p).max(axis=1))

    def cautions(self) -> list[str]:
        """What makes the figures worth less, in words."""
        found = []
        if self.pictures.held_out is False:
            found.append("The model was fitted to these pictures: the figures flatter it.")
        elif self.pictures.split == "val":
            found.append(
                "These are validation pictures: they chose the best epoch and the temperature, so "
                "expect a little less on new ones."
            )
        elif self.pictures.held_out is None:
            found.append(
                "Nobody can tell whether the model has seen these pictures while it learnt; if it "
                "has, the figures flatter it."
            )
        absent = [c.label for c in self.scores.per_class if not c.pictures]
        if absent:
            found.append(f"No picture shows {', '.join(absent[:10])}{'…' * (len(absent) > 10)}.")
        if self.scores.unanswered:
            found.append(
                f"{counted(self.scores.unanswered, 'picture')} got NaN or infinity for an answer, "
                "and counts as wrong."
            )
        return found


def evaluated(examinee: Examinee, pictures: Labelled, answers: Answers) -> Evaluation:
    """Score the answers."""
    scores = score(examinee.labels, answers.truths, answers.probabilities, examinee.temperature)
    return Evaluation(examinee, pictures, answers, scores)


def as_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything, in plain values; JSON knows no NaN, so what is not finite is `None`."""
    examinee, pictures, answers = evaluation.examinee, evaluation.pictures, evaluation.answers
    given = first_labels(answers.probabilities)
    labels = examinee.labels
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {"title": examinee.title, "runs_on": examinee.runs_on, **examinee.facts},
        "labels": list(labels),
        "data": {
            "root": str(pictures.root),
            "split": pictures.split or None,
            "held_out": pictures.held_out,
            "skipped": [{"path": str(file), "why": why} for file, why in answers.skipped],
        },
        "temperature": examinee.temperature.model_dump() if examinee.temperature else None,
        "scores": asdict(evaluation.scores),
        "curves": _curves(evaluation),
        "pictures": [
            {
                "path": str(file),
                "label": labels[truth],
                "answer": None if answer == NO_ANSWER else labels[answer],
                "score": round(float(sure), 6) if math.isfinite(sure) else None,
            }
            for file, truth, answer, sure in zip(
                answers.files, answers.truths, given, evaluation.shown_scores, strict=True
            )
        ],
        "cautions": evaluation.cautions(),
    }


def render_report(evaluation: Evaluation) -> str:
    """The page's text. Needs jinja2 and matplotlib."""
    examinee, scores = evaluation.examinee, evaluation.scores
    known, given = _finite(evaluation)
    rocs = roc_curves(examinee.labels, known, given)
    precisions = precision_recall_curves(examinee.labels, known, given)
    sureness = scores.sureness
    return render_page(
        TEMPLATES / "evaluation.html.j2",
        examinee=examinee,
        scores=scores,
        pictures=evaluation.pictures,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        cautions=evaluation.cautions(),
        matrix=matrix(examinee, evaluation.answers, evaluation.shown_scores),
        roc=roc_figure(rocs) if rocs else None,
        precision_recall=precision_recall_figure(precisions) if precisions else None,
        reliability=reliability_figure(sureness, scores.calibrated) if sureness else None,
        curve_note=f"The {MAX_CURVES} hardest classes." if len(rocs) > MAX_CURVES else "",
        class_rows=class_rows(scores),
        skipped=[(str(file), why) for file, why in evaluation.answers.skipped[:50]],
        skipped_count=len(evaluation.answers.skipped),
        pixelated=examinee.preprocess.width < 64,
        percent=percent,
        interval=interval,
        provenance=_provenance(evaluation),
    )


def class_rows(scores: Scores) -> list[list[str]]:
    """The table of classes: label, pictures, precision, recall, F1, AUC, average precision."""
    return [
        [
            c.label,
            str(c.pictures),
            _with_interval(c.precision),
            _with_interval(c.recall),
            _with_interval(c.f1),
            _with_interval(c.auc),
            percent(c.average_precision),
        ]
        for c in scores.per_class
    ]


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return percent(None)
    return f"{percent(estimate.value)} ({interval(estimate.low, estimate.high)})"


def _finite(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    answers = evaluation.answers
    finite = first_labels(answers.probabilities) != NO_ANSWER
    return answers.truths[finite], answers.probabilities[finite]


def _curves(evaluation: Evaluation) -> dict[str, Any]:
    known, given = _finite(evaluation)
    labels = evaluation.examinee.labels
    return {
        "roc": {
            c.label: {
                "false_positive_rate": _thinned(c.false_positive_rate),
                "true_positive_rate": _thinned(c.true_positive_rate),
            }
            for c in roc_curves(labels, known, given)
        },
        "precision_recall": {
            c.label: {"recall": _thinned(c.recall), "precision": _thinned(c.precision)}
            for c in precision_recall_curves(labels, known, given)
        },
    }


def _thinned(values: np.ndarray) -> list[float]:
    if len(values) > _MAX_POINTS:
        values = values[np.linspace(0, len(values) - 1, _MAX_POINTS).round().astype(int)]
    return [round(float(value), 6) for value in values]


def _provenance(evaluation: Evaluation) -> Sequence[tuple[str, str]]:
    examinee, pictures = evaluation.examinee, evaluation.pictures
    part = f", {pictures.split}" if pictures.split else ""
    found = examinee.temperature
    return [
        ("Model", examinee.title),
        ("Runs on", examinee.runs_on),
        *((name, str(value)) for name, value in examinee.facts.items() if name == "sha256"),
        ("Pictures", f"{pictures.root}{part}"),
        (
            "Temperature",
            f"{found.value:.3g}, fitted on {counted(found.samples, 'validation picture')}"
            if found
            else "none: scores are as the model answers them",
        ),
        (
            "Intervals",
            "95 %: Wilson (fractions), bootstrap (means, F1), Newcombe (AUC)",
        ),
    ]
