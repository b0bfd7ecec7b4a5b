"""Who is taken for whom: by the trained model, and by each variant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.outcome import Outcome
from edge_runtime import words
from edge_runtime.evaluation.answers import NO_ANSWER, confusion, first_labels
from edge_runtime.words import Cell

# Matrices of more classes cannot be read beside each other: pairs are listed instead.
MAX_CLASSES = 12
MAX_PAIRS = 30
# Pictures more or fewer of a pair.
_FULL_CHANGE = 3

Counts = Counter[tuple[int, int]]


@dataclass(frozen=True)
class Square:
    """One confusion matrix: rows are right labels, columns answers.

    Attributes:
        changes: how many pictures lie elsewhere than in the trained model's.
        unanswered: pictures whose answer is not a number.
    """

    name: str
    rows: tuple[tuple[Cell, ...], ...]
    changes: int
    unanswered: int


@dataclass(frozen=True)
class Pair:
    """Pictures of one class with the answer of another: how many, by the model and each variant."""

    truth: str
    answer: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Confusion:
    """Either `squares` or, of many classes, `pairs`.

    Attributes:
        labels: all of them.
        squares: the trained model's first.
        same: variants whose matrix is the trained model's.
        columns: at the head of `pairs`.
        pairs_left_out: confused pairs that are not shown.
    """

    labels: tuple[str, ...]
    squares: tuple[Square, ...]
    same: tuple[str, ...]
    columns: tuple[str, ...]
    pairs: tuple[Pair, ...]
    pairs_left_out: int


def confusions(
    outcomes: Sequence[Outcome], labels: tuple[str, ...], truths: np.ndarray, reference: np.ndarray
) -> Confusion:
    """Of all variants that were made.

    Args:
        truths: int, (samples,): the right label of each picture.
        reference: float32, (samples, labels): the trained model's probabilities.
    """
    answers = {o.name: first_labels(o.proof.probabilities) for o in outcomes if o.proof}
    before = confusion(truths, first_labels(reference))
    after = {name: confusion(truths, given) for name, given in answers.items()}
    differing = {name: counts for name, counts in after.items() if counts != before}
    same = tuple(name for name in after if name not in differing)
    if len(labels) > MAX_CLASSES:
        pairs, left_out = _pairs(labels, before, differing)
        return Confusion(labels, (), same, tuple(differing), pairs, left_out)
    squares = [Square("the trained model", _rows(before, before, len(labels)), 0, 0)]
    for name, counts in differing.items():
        unanswered = int((answers[name] == NO_ANSWER).sum())
        # Every picture that moved is missing where it was.
        moved = (before - counts).total()
        squares.append(Square(name, _rows(counts, before, len(labels)), moved, unanswered))
    return Confusion(labels, tuple(squares), same, (), (), 0)


def _rows(counts: Counts, before: Counts, labels: int) -> tuple[tuple[Cell, ...], ...]:
    rows = []
    for truth in range(labels):
        # Of the trained model's pictures: a variant may have no answer to some.
        total = max(1, sum(before[truth, answer] for answer in range(labels)))
        rows.append(
            tuple(
                _cell(counts[truth, answer], before[truth, answer], total, truth == answer)
                for answer in range(labels)
            )
        )
    return tuple(rows)


def _cell(count: int, was: int, total: int, right: bool) -> Cell:
    change = count - was
    if not change:
        return Cell(str(count) if count else "", shade="share", level=count / total)
    return Cell(
        str(count),
        _signed(change),
        "share",
        min(1.0, count / total),
        frame="better" if (change > 0) == right else "worse",
    )


def _signed(change: int) -> str:
    return f"{'+' if change > 0 else words.MINUS}{abs(change)}"


def _pairs(
    labels: tuple[str, ...], before: Counts, after: Mapping[str, Counts]
) -> tuple[tuple[Pair, ...], int]:
    """Pairs whose count grew most, then what shrank most, then what the model confuses most."""
    every = {pair for counts in (before, *after.values()) for pair in counts}

    def importance(pair: tuple[int, int]) -> tuple[int, int, int, tuple[int, int]]:
        changes = [counts[pair] - before[pair] for counts in after.values()]
        return -max(changes, default=0), min(changes, default=0), -before[pair], pair

    wrong = sorted((pair for pair in every if pair[0] != pair[1]), key=importance)
    pairs = tuple(
        Pair(
            labels[pair[0]],
            labels[pair[1]],
            (
                Cell(str(before[pair])),
                *(_pair_cell(counts[pair], before[pair]) for counts in after.values()),
            ),
        )
        for pair in wrong[:MAX_PAIRS]
    )
    return pairs, len(wrong) - len(pairs)


def _pair_cell(count: int, was: int) -> Cell:
    change = count - was
    if not change:
        return Cell(str(count))
    # More confusion is bad, less is good.
    level = min(1.0, abs(change) / _FULL_CHANGE)
    return Cell(str(count), _signed(change), "hot" if change > 0 else "cool", level)
