"""What was tried to mend a variant, and what each attempt gained and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.gates import gates
from converters.outcome import Outcome
from converters.repair_words import why_not_mended
from converters.report.figures import repair_figure
from edge_runtime import words
from edge_runtime.manifest import RepairStep
from edge_runtime.page import ThemedFigure


@dataclass(frozen=True)
class Step:
    """One attempt, as text; changes are against the first one, and empty for it."""

    number: int
    what: str
    kept: tuple[str, ...]
    agreement: str
    agreement_change: str
    divergence: str
    drop: str
    size: str
    size_change: str
    latency: str
    latency_change: str
    missed: tuple[str, ...]
    unsure: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True)
class RepairedVariant:
    """All attempts at one variant."""

    name: str
    mended: bool
    reason: str
    samples: int
    steps: tuple[Step, ...]
    figure: ThemedFigure


def repairs(outcomes: Sequence[Outcome]) -> tuple[RepairedVariant, ...]:
    """Of the variants that were to be mended."""
    return tuple(
        RepairedVariant(
            name=o.name,
            mended=o.repaired is not None,
            reason="" if o.repaired else why_not_mended(o.repair),
            samples=o.repair[0].parity.samples,
            steps=tuple(_step(n, step, o) for n, step in enumerate(o.repair, 1)),
            figure=repair_figure(o.repair),
        )
        for o in outcomes
        if o.repair
    )


def _step(number: int, step: RepairStep, outcome: Outcome) -> Step:
    first = outcome.repair[0]
    gain = step.parity.top1_agreement - first.parity.top1_agreement
    return Step(
        number=number,
        what=step.what,
        kept=step.kept,
        agreement=words.percent(step.parity.top1_agreement),
        agreement_change="" if step is first else words.points(gain),
        divergence=words.scientific(step.parity.kl_divergence),
        drop=words.points(step.parity.accuracy_drop),
        size=words.size(step.bytes),
        size_change="" if step is first else _share(step.bytes, first.bytes),
        latency=words.milliseconds(step.latency_ms),
        latency_change="" if step is first else _share(step.latency_ms, first.latency_ms),
        missed=step.missed,
        unsure=gates()[outcome.recipe.precision].judge(step.parity).unsure,
        chosen=step.chosen,
    )


def _share(value: float, before: float) -> str:
    """A change in per cent."""
    return f"{words.points(value / before - 1, 0)}{words.GAP}%" if before else ""
