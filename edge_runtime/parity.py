"""Comparing one set of answers with another: a variant's with the trained model's."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.intervals import mcnemar_p, paired_interval, wilson_interval
from edge_runtime.manifest import Parity

# A probability that int8 rounds to 0 counts as one that float32 can just tell from 0.
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
_TOP = 5


def compare(reference: np.ndarray, answers: np.ndarray, labels: np.ndarray | None = None) -> Parity:
    """Figures of one variant against the reference.

    A picture with a number that is NaN or infinite, on either side, agrees with nothing and is
    right about nothing, so that no gate passes by a comparison with NaN.

    Args:
        reference: float32, (samples, labels): the trained model's probabilities.
        answers: the same of the variant.
        labels: int, (samples,): the right label of each picture, where known.

    Raises:
        ValueError: when the shapes differ or there are no samples.
    """
    if reference.shape != answers.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError(f"cannot compare shapes {reference.shape} and {answers.shape}")
    finite = np.isfinite(answers).all(axis=1) & np.isfinite(reference).all(axis=1)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        error = np.abs(answers.astype(np.float64) - reference.astype(np.float64))
    whole = bool(finite.all())
    per_sample = np.where(finite, np.nan_to_num(error).max(axis=1), np.inf)
    agree = (answers.argmax(1) == reference.argmax(1)) & finite
    low, high = wilson_interval(int(agree.sum()), len(agree))
    return Parity(
        samples=len(reference),
        max_abs_error=float(error.max()) if whole else None,
        mean_abs_error=float(error.mean()) if whole else None,
        cosine=_smallest_cosine(reference, answers) if whole else None,
        kl_divergence=_mean_kl(reference, answers) if whole else None,
        top1_agreement=float(agree.mean()),
        top1_low=low,
        top1_high=high,
        top5_agreement=_top5_agreement(reference, answers, finite),
        nonfinite=int((~np.isfinite(answers)).sum()),
        worst_sample=int(per_sample.argmax()),
        **_accuracy_figures(reference, answers, labels, finite),
    )


def _accuracy_figures(
    reference: np.ndarray, answers: np.ndarray, labels: np.ndarray | None, finite: np.ndarray
) -> dict[str, Any]:
    if labels is None:
        return {}
    before = (reference.argmax(1) == labels) & np.isfinite(reference).all(axis=1)
    after = (answers.argmax(1) == labels) & finite
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    low, high = paired_interval(lost, won, len(labels))
    change = []
    for label in range(reference.shape[1]):
        of_class = labels == label
        difference = after[of_class].mean() - before[of_class].mean() if of_class.any() else None
        change.append(None if difference is None else float(difference))
    return {
        "accuracy": float(after.mean()),
        "reference_accuracy": float(before.mean()),
        "accuracy_drop_low": low,
        "accuracy_drop_high": high,
        "mcnemar_p": mcnemar_p(lost, won),
        "lost": lost,
        "won": won,
        "recall_change": tuple(change),
    }


def _top5_agreement(reference: np.ndarray, answers: np.ndarray, finite: np.ndarray) -> float | None:
    if reference.shape[1] <= _TOP:
        return None  # every label is among the first five
    best = np.argpartition(-np.nan_to_num(answers), _TOP, axis=1)[:, :_TOP]
    return float(((best == reference.argmax(1)[:, None]).any(axis=1) & finite).mean())


def _mean_kl(reference: np.ndarray, answers: np.ndarray) -> float:
    """Mean over the pictures of sum p log(p / q), in nats (Kullback and Leibler, 1951)."""
    p = np.maximum(reference.astype(np.float64), _LEAST_PROBABILITY)
    q = np.maximum(answers.astype(np.float64), _LEAST_PROBABILITY)
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return max(0.0, float((p * np.log(p / q)).sum(axis=1).mean()))


def _smallest_cosine(reference: np.ndarray, answers: np.ndarray) -> float:
    a, b = reference.astype(np.float64), answers.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min())
