"""The report's tables of figures: every variant's, and what became of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from converters.outcome import Outcome
from converters.report import verdict
from edge_runtime import words
from edge_runtime.manifest import Parity
from edge_runtime.words import Cell

# More classes than this are not all shown, only those that changed most.
MAX_CLASSES = 24
# A change of recall by so much, as a fraction, has the full colour.
_FULL_CHANGE = 0.1


@dataclass(frozen=True)
class Column:
    """A variant at the head of a table."""

    name: str
    status: str
    kind: str
    repaired: bool


@dataclass(frozen=True)
class Row:
    """One figure of all variants, and what it means."""

    name: str
    note: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Figures:
    """All figures of all variants: groups of rows."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]


def columns(outcomes: Sequence[Outcome]) -> tuple[Column, ...]:
    """One for each variant."""
    return tuple(
        Column(o.name, verdict.status(o), verdict.kind(o), repaired=bool(o.repaired))
        for o in outcomes
    )


def figures_table(outcomes: Sequence[Outcome], reference_accuracy: float | None) -> Figures:
    """Every variant's figures. Those that could not be made have none."""
    proofs = [o.proof for o in outcomes]
    parities = [p.parity if p else None for p in proofs]

    def row(name: str, note: str, cell: Callable[[Parity], Cell]) -> Row:
        return Row(name, note, tuple(Cell(words.NONE) if p is None else cell(p) for p in parities))

    answers = [
        row("Accuracy", f"the trained model has {words.percent(reference_accuracy)}", _accuracy),
        row("Accuracy drop", "in percentage points, with its 95 % interval", _drop),
        row(
            "Lost / won", "pictures that only the model, or only the file, answers right", _changed
        ),
        row("McNemar's p", "how likely a split so unequal is if neither is better", _likelihood),
    ]
    if reference_accuracy is None:
        answers = []  # nobody knows what is right
    if any(o.abstain and o.abstain.min_score for o in outcomes):
        answers.append(
            Row(
                "Unknown below",
                "this score, so that the wanted fraction of the answers is right; and how many "
                "pictures are answered",
                tuple(_unknown(o) for o in outcomes),
            )
        )
    same = [row("Same answer", "as the trained model, with its 95 % interval", _agreement)]
    if any(p and p.top5_agreement is not None for p in parities):
        same.append(row("In the first five", "the model's answer is among the file's", _top5))
    numbers = [
        row("Max error", "largest difference of any probability", _max_error),
        row("Mean error", "of all probabilities", _mean_error),
        row("Least cosine", "of the probabilities of any picture; 1 is the same", _cosine),
        row("KL divergence", "mean, from the trained model, in nats", _divergence),
    ]
    if any(p and p.nonfinite for p in parities):
        numbers.append(row("NaN or infinite", "of its numbers", _nonfinite))
    cost = [
        Row("Size", "of the file", tuple(_size(o, outcomes) for o in outcomes)),
        Row(
            "Latency",
            "median of single inferences on the machine that made it",
            tuple(Cell(words.milliseconds(p.latency_ms) if p else words.NONE) for p in proofs),
        ),
        Row(
            "Proven on",
            "engine and version",
            tuple(_engine(p.engine) if p else Cell(words.NONE) for p in proofs),
        ),
        row("Pictures", "compared", lambda p: Cell(str(p.samples))),
    ]
    return Figures(
        columns(outcomes),
        (
            *((("Right answers", tuple(answers)),) if answers else ()),
            ("The model's answers", tuple(same)),
            ("The model's numbers", tuple(numbers)),
            ("Cost", tuple(cost)),
        ),
    )


def _accuracy(parity: Parity) -> Cell:
    return Cell(words.percent(parity.accuracy))


def _unknown(outcome: Outcome) -> Cell:
    if outcome.abstain is None:
        return Cell(words.NONE)
    chosen = outcome.abstain
    return Cell(f"{chosen.min_score:.3f}", f"{words.percent(chosen.coverage)} answered")


def _drop(parity: Parity) -> Cell:
    low, high = parity.accuracy_drop_low, parity.accuracy_drop_high
    return Cell(words.points(parity.accuracy_drop), words.points_interval(low, high))


def _changed(parity: Parity) -> Cell:
    if parity.lost is None or parity.won is None:
        return Cell(words.NONE)
    return Cell(f"{parity.lost} / {parity.won}")


def _likelihood(parity: Parity) -> Cell:
    return Cell(words.likelihood(parity.mcnemar_p))


def _agreement(parity: Parity) -> Cell:
    return Cell(
        words.percent(parity.top1_agreement), words.interval(parity.top1_low, parity.top1_high)
    )


def _top5(parity: Parity) -> Cell:
    return Cell(words.percent(parity.top5_agreement))


def _max_error(parity: Parity) -> Cell:
    return Cell(words.scientific(parity.max_abs_error))


def _mean_error(parity: Parity) -> Cell:
    return Cell(words.scientific(parity.mean_abs_error))


def _cosine(parity: Parity) -> Cell:
    return Cell("not finite" if parity.cosine is None else f"{parity.cosine:.6f}")


def _divergence(parity: Parity) -> Cell:
    return Cell(words.scientific(parity.kl_divergence))


def _nonfinite(parity: Parity) -> Cell:
    return Cell(str(parity.nonfinite), shade="bad" if parity.nonfinite else "")


def _engine(engine: str) -> Cell:
    name, _, version = engine.partition(" ")
    return Cell(name, version)


def _size(outcome: Outcome, outcomes: Sequence[Outcome]) -> Cell:
    if outcome.proof is None:
        return Cell(words.NONE)
    base = f"{outcome.recipe.format}-float32"
    whole = next((o.bytes for o in outcomes if o.name == base and o.proof), 0)
    share = f"{words.percent(outcome.bytes / whole, 0)} of float32" if whole else ""
    return Cell(words.size(outcome.bytes), share if outcome.name != base else "")


@dataclass(frozen=True)
class ClassRow:
    """What became of one class."""

    label: str
    pictures: int
    recall: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Recall:
    """Change of each class's recall.

    Attributes:
        rows: all classes, or of many those that changed most.
        left_out: how many are not among them.
        full: points of the full colour.
    """

    columns: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    left_out: int
    full: str


def recall_table(
    outcomes: Sequence[Outcome],
    labels: Sequence[str],
    truths: np.ndarray,
    reference: np.ndarray,
) -> Recall | None:
    """Class by variant; `None` where no variant knows the right labels.

    Args:
        truths: int, (samples,): the right label of each picture.
        reference: float32, (samples, labels): the trained model's probabilities.
    """
    known = [
        (o.name, o.proof.parity.recall_change)
        for o in outcomes
        if o.proof and len(o.proof.parity.recall_change) == len(labels)
    ]
    if not known:
        return None
    changes = np.array(
        [[np.nan if c is None else c for c in change] for _, change in known], np.float64
    )
    largest = np.nan_to_num(np.abs(changes)).max(axis=0)
    order = np.arange(len(labels))
    if len(labels) > MAX_CLASSES:
        most = np.argsort(-largest, kind="stable")[:MAX_CLASSES]
        order = np.sort(most[largest[most] > 0])
    full = max(_FULL_CHANGE, float(largest.max(initial=0.0)))
    right = reference.argmax(axis=1) == truths
    rows = []
    for index in map(int, order):
        of_class = truths == index
        count = int(of_class.sum())
        recall = words.percent(float(right[of_class].mean()) if count else None, 0)
        cells = tuple(_change(float(change), full) for change in changes[:, index])
        rows.append(ClassRow(labels[index], count, recall, cells))
    return Recall(
        tuple(name for name, _ in known),
        tuple(rows),
        len(labels) - len(rows),
        words.points(full, 0).removeprefix("+"),
    )


def _change(change: float, full: float) -> Cell:
    if np.isnan(change):
        return Cell(words.NONE, shade="none")
    level = abs(change) / full
    if not level:
        return Cell("0", shade="quiet")
    return Cell(words.points(change), shade="hot" if change < 0 else "cool", level=level)
