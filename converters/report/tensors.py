"""The report of a bundle of raw tensors: every output of every file, by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from converters.outcome import CSource, Outcome
from converters.repair_words import why_not_mended
from converters.report.matrix import matrix_tables
from converters.report.noise import noisy_variants
from converters.report.provenance import provenance
from converters.report.tables import Column, Row, columns
from converters.report.verdict import judge
from converters.subject import Subject
from edge_runtime import words
from edge_runtime.manifest import Manifest, RepairStep, TensorParity
from edge_runtime.page import render_page
from edge_runtime.tensors import TensorOutput
from edge_runtime.words import Cell

TEMPLATE = Path(__file__).parent / "templates" / "tensors.html.j2"


@dataclass(frozen=True)
class Figures:
    """All figures of all outputs, and what the files cost: groups of rows."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, str, tuple[Row, ...]], ...]


@dataclass(frozen=True)
class Mending:
    """What was tried to mend a file."""

    name: str
    mended: bool
    reason: str
    steps: tuple[RepairStep, ...]


def render_tensor_report(
    manifest: Manifest,
    outcomes: Sequence[Outcome],
    subject: Subject,
    c_source: CSource | None = None,
) -> str:
    """The page's text."""
    samples = len(subject.held_out.inputs)
    created = datetime.fromisoformat(manifest.provenance["created"])
    return render_page(
        TEMPLATE,
        manifest=manifest,
        samples=samples,
        created=created.strftime("%Y-%m-%d %H:%M UTC"),
        total=len(outcomes),
        verdict=judge(outcomes, samples, subject.record.data.held_out),
        warnings=tuple(subject.warnings()),
        c_source=c_source if c_source and c_source.asked else None,
        outputs=tuple(map(_described, subject.outputs)),
        figures=_figures(outcomes, subject.outputs),
        matrix=matrix_tables(manifest),
        noise=noisy_variants(outcomes),
        flips=None,
        repairs=(),  # those of the classifier's report speak of answers
        mendings=tuple(_mending(o) for o in outcomes if o.repair),
        provenance=provenance(manifest),
        size=words.size,
        milliseconds=words.milliseconds,
        scientific=words.scientific,
        decibels=words.decibels,
    )


def _described(output: TensorOutput) -> tuple[str, str, str, str]:
    """Name, shape, type and range."""
    shape = " x ".join(map(str, output.shape)) or "one number"
    span = words.scientific(output.range)
    return output.name, shape, output.dtype, f"{span}, whole numbers" if output.whole else span


def _figures(outcomes: Sequence[Outcome], outputs: Sequence[TensorOutput]) -> Figures:
    groups = []
    for number, output in enumerate(outputs):
        parities = [o.proof.parity.outputs[number] if o.proof else None for o in outcomes]
        groups.append((output.name, output.text.removeprefix(output.name), _rows(parities)))
    proofs = [o.proof for o in outcomes]
    cost = (
        Row(
            "Size",
            "of the file",
            tuple(Cell(words.size(o.bytes) if o.proof else words.NONE) for o in outcomes),
        ),
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
    )
    return Figures(columns(outcomes), (*groups, ("Cost", "", cost)))


def _rows(parities: Sequence[TensorParity | None]) -> tuple[Row, ...]:
    def row(name: str, note: str, cell: Callable[[TensorParity], Cell]) -> Row:
        return Row(name, note, tuple(Cell(words.NONE) if p is None else cell(p) for p in parities))

    rows = [
        row("Signal to noise", "of all its numbers about their mean", _noise),
        row("Max error", "in its own units, and of its range", _max_error),
        row("Mean error", "in its own units", lambda p: Cell(words.scientific(p.mean_abs_error))),
        row("Least cosine", "of any picture; 1 is the same", _cosine),
    ]
    if any(p and p.agreement is not None for p in parities):
        rows.insert(0, row("Same whole numbers", "after rounding", _agreement))
    if any(p and p.flat_channels for p in parities):
        rows.append(row("Lost channels", "answer one and the same number", _flat))
    if any(p and p.nonfinite for p in parities):
        rows.append(row("NaN or infinite", "of its numbers", lambda p: Cell(str(p.nonfinite))))
    return tuple(rows)


def _noise(parity: TensorParity) -> Cell:
    if parity.relative_error is None:
        return Cell("not finite", shade="bad")
    if parity.sqnr_db is None and parity.relative_error:
        return Cell(words.NONE, "it never changes")
    return Cell(words.decibels(parity.sqnr_db))


def _max_error(parity: TensorParity) -> Cell:
    share = "" if parity.relative_error is None else words.percent(parity.relative_error, 2)
    return Cell(words.scientific(parity.max_abs_error), share)


def _cosine(parity: TensorParity) -> Cell:
    return Cell("not finite" if parity.cosine is None else f"{parity.cosine:.6f}")


def _agreement(parity: TensorParity) -> Cell:
    return Cell(words.percent(parity.agreement, 2))


def _flat(parity: TensorParity) -> Cell:
    most = 2 * parity.flat_channels > parity.channels
    return Cell(f"{parity.flat_channels} of {parity.channels}", shade="bad" if most else "")


def _engine(engine: str) -> Cell:
    name, _, version = engine.partition(" ")
    return Cell(name, version)


def _mending(outcome: Outcome) -> Mending:
    mended = outcome.repaired is not None
    return Mending(
        outcome.name, mended, "" if mended else why_not_mended(outcome.repair), outcome.repair
    )
