"""How good answers are, with how sure so many pictures can make us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_runtime.evaluation.answers import NO_ANSWER, first_labels
from edge_runtime.evaluation.curves import precision_recall_curves, roc_curves
from edge_runtime.evaluation.reliability import (
    ReliabilityBin,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from edge_runtime.evaluation.resampling import resampled
from edge_runtime.intervals import wilson_interval
from edge_runtime.temperature import Temperature

_TOP = 5

Method = Literal["wilson", "bootstrap", "newcombe"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        method: `wilson` for fractions of pictures, `bootstrap` (percentiles of 1,000 resamplings of
            the pictures) for figures that average over classes, `newcombe` for areas under a curve.
    """

    value: float
    low: float
    high: float
    method: Method


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from the others. `None` where no picture can tell.

    Attributes:
        pictures: how many show it.
        answered: how many were taken for it.
        auc: area under its ROC curve against all others; `average_precision` likewise of its
            precision-recall curve.
    """

    label: str
    pictures: int
    answered: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    auc: Estimate | None
    average_precision: float | None


@dataclass(frozen=True)
class Sureness:
    """Whether scores mean what they say.

    Attributes:
        nll: mean negative log likelihood of the right label, in nats.
        brier: mean squared distance from the right answer, 0 to 2.
        ece: expected calibration error, 0 to 1, over `bins`.
    """

    nll: float
    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Scores:
    """All figures of one model on one set of pictures.

    Attributes:
        samples: pictures; `unanswered` of them got NaN or infinity and count as wrong.
        balanced_accuracy: mean recall over the classes that are shown.
        macro_f1: mean F1 likewise.
        top5: fraction whose right label is among the first five; `None` up to five labels.
        auc, average_precision: means over the classes; `None` where there is none.
        sureness: of the model's own scores; `calibrated`: of those at the temperature.
    """

    samples: int
    unanswered: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    top5: Estimate | None
    auc: float | None
    average_precision: float | None
    per_class: tuple[ClassScores, ...]
    sureness: Sureness | None
    calibrated: Sureness | None


def score(
    labels: tuple[str, ...],
    truths: np.ndarray,
    probabilities: np.ndarray,
    temperature: Temperature | None = None,
) -> Scores:
    """Hold answers against the right labels.

    Args:
        truths: int, (samples,), at least one.
        probabilities: float32, (samples, labels), as the model itself answers.
    """
    answers = first_labels(probabilities)
    finite = answers != NO_ANSWER
    known, given = truths[finite], probabilities[finite]
    rocs = {c.label: c for c in roc_curves(labels, known, given)}
    precisions = {c.label: c for c in precision_recall_curves(labels, known, given)}
    drawn = resampled(truths, answers, len(labels))
    per_class = tuple(
        ClassScores(
            label=label,
            pictures=int((truths == index).sum()),
            answered=int((answers == index).sum()),
            precision=_fraction(truths == index, answers == index),
            recall=_fraction(answers == index, truths == index),
            f1=_estimate(drawn.f1.get(index)),
            auc=Estimate(rocs[label].auc, rocs[label].low, rocs[label].high, "newcombe")
            if label in rocs
            else None,
            average_precision=precisions[label].average_precision if label in precisions else None,
        )
        for index, label in enumerate(labels)
    )
    balanced, macro = _estimate(drawn.balanced_accuracy), _estimate(drawn.macro_f1)
    accuracy = _fraction(answers == truths, np.ones(len(truths), bool))
    assert balanced and macro and accuracy  # there are pictures
    return Scores(
        samples=len(truths),
        unanswered=int((~finite).sum()),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        macro_f1=macro,
        top5=_top5(truths, probabilities, finite),
        auc=_mean([c.auc for c in rocs.values()]),
        average_precision=_mean([c.average_precision for c in precisions.values()]),
        per_class=per_class,
        sureness=_sureness(known, given),
        calibrated=_sureness(known, temperature(given)) if temperature else None,
    )


def _fraction(hit: np.ndarray, among: np.ndarray) -> Estimate | None:
    """How many of `among` are `hit`; both bool, (samples,)."""
    total, right = int(among.sum()), int((hit & among).sum())
    return Estimate(right / total, *wilson_interval(right, total), "wilson") if total else None


def _estimate(figures: tuple[float, float, float] | None) -> Estimate | None:
    return None if figures is None else Estimate(*figures, "bootstrap")


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _top5(truths: np.ndarray, probabilities: np.ndarray, finite: np.ndarray) -> Estimate | None:
    if probabilities.shape[1] <= _TOP:
        return None  # every label is among the first five
    of_truth = probabilities[np.arange(len(truths)), truths][:, None]
    earlier = np.arange(probabilities.shape[1])[None] < truths[:, None]
    # Of equal scores, as int8 has many, the earlier label comes first.
    before = (probabilities > of_truth) | ((probabilities == of_truth) & earlier)
    return _fraction((before.sum(axis=1) < _TOP) & finite, np.ones(len(truths), bool))


def _sureness(truths: np.ndarray, probabilities: np.ndarray) -> Sureness | None:
    if not len(truths):
        return None
    bins = reliability(truths, probabilities)
    return Sureness(
        nll=negative_log_likelihood(truths, probabilities),
        brier=brier_score(truths, probabilities),
        ece=expected_calibration_error(bins),
        bins=bins,
    )
