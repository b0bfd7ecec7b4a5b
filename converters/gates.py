"""The limits that parity figures must keep, read from `gates.toml`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge_runtime.manifest import Parity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Sums of counts divided by counts: a drop of exactly one point must pass a limit of one point.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Gate:
    """Limits of one precision; `None` where a figure has none. See `gates.toml`."""

    tolerance: float
    max_abs_error: float | None = None
    top1_agreement: float | None = None
    accuracy_drop: float | None = None
    half_arithmetic: float | None = None

    def judge(self, parity: Parity) -> Verdict:
        """Hold figures against the limits.

        A limit is kept or missed by the figure itself; whether so many pictures can tell is said
        by its 95 % interval. Every comparison is written so that a missing or NaN figure misses.
        """
        verdict = Verdict()
        if parity.nonfinite:
            verdict += Verdict((f"{parity.nonfinite} of its numbers are NaN or infinite",))
        if self.max_abs_error is not None:
            verdict += _error_verdict(parity.max_abs_error, self.max_abs_error)
        if self.top1_agreement is not None:
            verdict += _agreement_verdict(parity, self.top1_agreement)
        if self.accuracy_drop is not None and parity.accuracy_drop is not None:
            verdict += _drop_verdict(parity, parity.accuracy_drop, self.accuracy_drop)
        return verdict


@dataclass(frozen=True)
class Verdict:
    """What a gate says, in words.

    Attributes:
        missed: limits that are not kept.
        unsure: limits that are kept, but on too few pictures to be sure of it.
    """

    missed: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.missed + other.missed, self.unsure + other.unsure)


@cache
def gates() -> Mapping[str, Gate]:
    """All gates by precision."""
    text = (Path(__file__).parent / "gates.toml").read_text(encoding="utf-8")
    return {precision: Gate(**limits) for precision, limits in tomllib.loads(text).items()}


def _error_verdict(error: float | None, limit: float) -> Verdict:
    if error is not None and error <= limit:
        return Verdict()
    return Verdict((f"max error {'unknown' if error is None else f'{error:.2g}'} > {limit:g}",))


def _agreement_verdict(parity: Parity, limit: float) -> Verdict:
    agreement, samples = parity.top1_agreement, parity.samples
    interval = f"95 % interval {parity.top1_low:.1%} to {parity.top1_high:.1%}"
    if not agreement >= limit - _ROUNDING:
        words = f"top-1 agreement {agreement:.2%} < {limit:.1%}"
        if parity.top1_high > limit:
            words += f" ({samples} pictures cannot tell: {interval})"
        return Verdict(missed=(words,))
    if parity.top1_low < limit - _ROUNDING:
        return Verdict(unsure=(f"top-1 agreement {agreement:.2%} of {samples}: {interval}",))
    return Verdict()


def _drop_verdict(parity: Parity, drop: float, limit: float) -> Verdict:
    low, high = parity.accuracy_drop_low, parity.accuracy_drop_high
    known = low is not None and high is not None
    interval = f"95 % interval {low:.1%} to {high:.1%}" if known else "no interval"
    if not drop <= limit + _ROUNDING:
        words = f"accuracy drop {drop:.2%} > {limit:.1%}"
        if low is not None and low < limit:
            words += f" ({parity.samples} pictures cannot tell: {interval})"
        return Verdict(missed=(words,))
    if high is None or high > limit + _ROUNDING:
        return Verdict(unsure=(f"accuracy drop {drop:.2%} of {parity.samples}: {interval}",))
    return Verdict()
