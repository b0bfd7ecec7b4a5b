"""What one number per label means: probabilities, or numbers before a softmax or sigmoid."""

from __future__ import annotations

import numpy as np

from converters.errors import RunError
from converters.incoming.facts import Facts
from edge_runtime.head import Head, HeadKind

# Softmax of eight bits over a thousand labels is as far from 1 as this.
_SUM_TOLERANCE = 0.02

HEADS: dict[HeadKind, str] = {
    "softmax": "probabilities",
    "sigmoid": "one probability, of the second label",
    "logits": "numbers before a softmax, which is added",
    "logit": "one number before a sigmoid, which is added",
    "independent": "a probability for each label by itself",
}


def head_of(
    raw: np.ndarray, facts: Facts, path: str, asked: HeadKind | None = None
) -> tuple[Head, str]:
    """What a model's answers mean, and how that is known.

    Args:
        raw: float32, (samples, units), to real pictures.
        path: what an error calls the model.
        asked: what the user said.

    Raises:
        RunError: when what was asked for cannot be, or it is one number that may be either.
    """
    low, high = float(np.nanmin(raw)), float(np.nanmax(raw))
    inside = low >= -1e-3 and high <= 1 + 1e-3
    single = raw.shape[1] == 1
    if asked:
        _require_fits(path, asked, single, inside, (low, high))
        return Head(kind=asked), "--head"
    ends_in = facts.ends_in
    kind: HeadKind = "logits"
    if single:
        if not ends_in and (inside or facts.last.lower() == "tanh"):
            # A linear unit that answers a probability looks like one that answers anything else.
            behind = f", {facts.last}," if facts.last else ""
            raise RunError(
                f"{path}: answers one number, here from {low:.3g} to {high:.3g}, and its last "
                f"operator{behind} does not say what it means. --head sigmoid: the probability of "
                "the second label; --head logit: a number before a sigmoid; --task tensors: "
                "neither."
            )
        kind = "sigmoid" if ends_in == "sigmoid" else "logit"
    elif ends_in == "sigmoid" and inside:
        kind = "independent"
    elif ends_in == "softmax" or (inside and _adds_up(raw)):
        kind = "softmax"
    why = (
        f"its last operator, {ends_in}" if ends_in else f"what it answers: {low:.3g} to {high:.3g}"
    )
    return Head(kind=kind), why


def _require_fits(
    path: str, asked: HeadKind, single: bool, inside: bool, span: tuple[float, float]
) -> None:
    """Raises RunError for a meaning that the model's numbers cannot have."""
    if single != Head(kind=asked).single:
        fitting = [k for k in HEADS if Head(kind=k).single == single]
        many = "one number" if single else "a number for each label"
        raise RunError(f"{path}: answers {many}; --head is {' or '.join(fitting)} then.")
    if asked in ("softmax", "sigmoid", "independent") and not inside:
        raise RunError(
            f"{path}: answers {span[0]:.3g} to {span[1]:.3g}, which are no probabilities as --head "
            f"{asked} says."
        )


def _adds_up(raw: np.ndarray) -> bool:
    return bool(np.abs(raw.sum(axis=1) - 1).max() <= _SUM_TOLERANCE)
