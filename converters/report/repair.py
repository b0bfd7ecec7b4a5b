"""What was tried to mend a variant, and what each attempt gained and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.outcome import Outcome
from converters.report import words
from converters.report.figures import repair_figure
from edge_runtime.manifest import RepairStep
from edge_runtime.page import ThemedFigure


@dataclass(frozen=True)
class Step:
    """One attempt, as text."""

    number: int
    what: str
    kept: tuple[str, ...]
    agreement: str
    divergence: str
    drop: str
    size: str
    size_change: str
    latency: str
    missed: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True)
class RepairedVariant:
    """All attempts at one variant."""

    name: str
    mended: bool
    samples: int
    steps: tuple[Step, ...]
    figure: ThemedFigure


def repairs(outcomes: Sequence[Outcome]) -> tuple[RepairedVariant, ...]:
    """Of the variants that were to be mended."""
    return tuple(
        RepairedVariant(
            name=o.name,
            mended=o.repaired is not None,
            samples=o.repair[0].parity.samples,
            steps=tuple(_step(n, step, o.repair[0]) for n, step in enumerate(o.repair, 1)),
            figure=repair_figure(o.repair),
        )
        for o in outcomes
        if o.repair
    )


def _step(number: int, step: RepairStep, first: RepairStep) -> Step:
    change = step.bytes / first.bytes - 1 if first.bytes else 0.0
    return Step(
        number=number,
        what=step.what,
        kept=step.kept,
        agreement=words.percent(step.parity.top1_agreement),
        divergence=words.scientific(step.parity.kl_divergence),
        drop=words.points(step.parity.accuracy_drop),
        size=words.size(step.bytes),
        size_change="" if step is first else f"{words.points(change, 0)}{words.GAP}%",
        latency=words.milliseconds(step.latency_ms),
        missed=step.missed,
        chosen=step.chosen,
    )
