"""What repair says in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.manifest import RepairStep


def why_not_mended(steps: Sequence[RepairStep]) -> str:
    """The best attempt and what it still misses, in words; none of the steps is shipped.

    An attempt that keeps its gate and is not shipped is the one with everything kept: it shows
    whether rounding is all that is wrong.
    """
    missing = [step for step in steps if step.missed]
    best = max(missing, key=lambda s: (-len(s.missed), s.parity.top1_agreement))
    text = f"Nothing mends it. The best attempt, “{best.what}”, still misses: {_short(best)}."
    whole = next((step for step in steps if not step.missed), None)
    if whole is not None:
        return (
            f"{text} Rounding is all that is wrong: “{whole.what}” keeps the gate, but that is no "
            "quantised file any more. Too many parts share the noise: ship another precision."
        )
    return text


def _short(step: RepairStep) -> str:
    """What it misses, without intervals."""
    return "; ".join(problem.partition(" (")[0] for problem in step.missed)
