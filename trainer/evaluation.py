"""How well a model answers the pictures that were held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.evaluation.curves import roc_curves
from edge_runtime.head import Head
from edge_runtime.intervals import wilson_interval
from edge_runtime.temperature import Temperature, fit_temperature
from trainer.dataset import Dataset
from trainer.epoch import answers
from trainer.pictures import Pixels
from trainer.record import ClassMetrics, Metrics

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model's answers.

    Attributes:
        pixels: the held-out pictures.
        probabilities: float32, (pictures, labels).
        temperature: fitted on the validation pictures.
    """

    pixels: Pixels
    probabilities: np.ndarray
    metrics: Metrics
    temperature: Temperature | None = None

    @property
    def answers(self) -> np.ndarray:
        """int64, (pictures,): index of the most probable label."""
        return self.probabilities.argmax(axis=1)


def evaluate(core: keras.Model, head: Head, dataset: Dataset, *, batch_size: int) -> Evaluation:
    """Ask the model about every held-out picture."""

    def ask(part: Pixels) -> np.ndarray:
        return head.probabilities(answers(core, part, batch_size))

    pixels = dataset.held_out
    probabilities = ask(pixels)
    # Never on test pictures: how well calibrated the model is, is measured on them.
    val = probabilities if pixels is dataset.val else ask(dataset.val)
    also_in_train = count_shared(dataset.train, pixels)
    metrics = measure(dataset.labels, pixels.labels, probabilities, also_in_train=also_in_train)
    temperature = fit_temperature(dataset.val.labels, val)
    return Evaluation(pixels, probabilities, metrics, temperature)


def measure(
    labels: tuple[str, ...], truth: np.ndarray, probabilities: np.ndarray, *, also_in_train: int = 0
) -> Metrics:
    """Compare probabilities with the right label indices."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    answers = probabilities.argmax(axis=1)
    indices = list(range(len(labels)))
    per_class = precision_recall_fscore_support(truth, answers, labels=indices, zero_division=0)
    confusion = confusion_matrix(truth, answers, labels=indices)
    aucs = {c.label: c.auc for c in roc_curves(labels, truth, probabilities)}
    rows = tuple(
        ClassMetrics(
            label=label,
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            support=int(support),
            auc=aucs.get(label),
        )
        for label, precision, recall, f1, support in zip(labels, *per_class, strict=True)
    )
    right = int((answers == truth).sum())
    low, high = wilson_interval(right, len(truth))
    return Metrics(
        samples=len(truth),
        accuracy=right / len(truth),
        accuracy_low=low,
        accuracy_high=high,
        auc=float(np.mean(list(aucs.values()))) if aucs else None,
        per_class=rows,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        also_in_train=also_in_train,
    )


def count_shared(train: Pixels, held_out: Pixels) -> int:
    """How many held-out pictures have exactly the pixels of a training picture."""
    learnt = {digest.tobytes() for digest in train.digests[train.rows]}
    return sum(digest.tobytes() in learnt for digest in held_out.digests[held_out.rows])
