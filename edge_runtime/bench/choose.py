"""Which case to pick, and which none beats: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.bench.record import Measured


def pick_of(
    measured: Sequence[Measured], *, accuracy_budget: float, memory_limit_bytes: int | None
) -> tuple[int | None, list[str]]:
    """The fastest by p99 that keeps the limits: its number, or `None`; and why others may not.

    Args:
        accuracy_budget: how much accuracy it may lose against the trained model, 0 to 1.
        memory_limit_bytes: of the whole process with its loop; `None`: any.
    """
    allowed: list[int] = []
    reasons: list[str] = []
    for number, each in enumerate(measured):
        why = _why_not(each, accuracy_budget, memory_limit_bytes)
        if why:
            reasons.append(f"{each.case}: {why}")
        else:
            allowed.append(number)
    return min(allowed, key=lambda n: _p99(measured[n]), default=None), reasons


def pareto_front(measured: Sequence[Measured]) -> list[Measured]:
    """Those that no other beats: none is as fast and more accurate, or faster and as accurate."""
    front: list[Measured] = []
    for each in sorted((m for m in measured if m.ran), key=lambda m: (_p99(m), -worth(m))):
        if not front or worth(each) > worth(front[-1]):
            front.append(each)
    return front


def worth(measured: Measured) -> float:
    """Accuracy; where labels are unknown, the fraction of the trained model's answers."""
    if measured.accuracy is not None:
        return measured.accuracy
    return 1.0 - (measured.accuracy_drop or 0.0)


def _why_not(each: Measured, budget: float, limit_bytes: int | None) -> str:
    if not each.ran:
        return each.reason
    if not each.as_recorded:
        return "does not answer as recorded"
    drop = each.accuracy_drop or 0.0
    if drop > budget:
        return f"loses {100 * drop:.2f} points of accuracy, more than {100 * budget:.2f}"
    if limit_bytes is not None and each.loop_peak_bytes is None:
        return "its memory is unknown"
    if limit_bytes is not None and (each.loop_peak_bytes or 0) > limit_bytes:
        return f"takes {(each.loop_peak_bytes or 0) >> 20} MiB, more than {limit_bytes >> 20}"
    return ""


def _p99(each: Measured) -> float:
    return each.infer.p99 if each.infer else float("inf")
