"""Comparing a variant's answers with the trained model's."""

from __future__ import annotations

import numpy as np

from edge_runtime.manifest import Parity


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
    error = np.abs(answers.astype(np.float64) - reference.astype(np.float64))
    whole = bool(finite.all())
    per_sample = np.where(finite, np.nan_to_num(error).max(axis=1), np.inf)
    return Parity(
        samples=len(reference),
        max_abs_error=float(error.max()) if whole else None,
        mean_abs_error=float(error.mean()) if whole else None,
        cosine=_smallest_cosine(reference, answers) if whole else None,
        top1_agreement=float(((answers.argmax(1) == reference.argmax(1)) & finite).mean()),
        accuracy=_accuracy(answers, labels, finite),
        reference_accuracy=_accuracy(reference, labels, np.isfinite(reference).all(axis=1)),
        nonfinite=int((~np.isfinite(answers)).sum()),
        worst_sample=int(per_sample.argmax()),
    )


def _accuracy(answers: np.ndarray, labels: np.ndarray | None, finite: np.ndarray) -> float | None:
    if labels is None:
        return None
    return float(((answers.argmax(1) == labels) & finite).mean())


def _smallest_cosine(reference: np.ndarray, answers: np.ndarray) -> float:
    a, b = reference.astype(np.float64), answers.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min())
