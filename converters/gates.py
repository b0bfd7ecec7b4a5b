"""The limits that parity figures must keep, read from `gates.toml`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edge_runtime.manifest import Parity, TensorParity
from edge_runtime.text import printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Sums of counts divided by counts: a drop of exactly one point must pass a limit of one point.
_ROUNDING = 1e-9
# An output that never changes has no signal: so much of its range is no error worth the name.
_STILL = 0.01


@dataclass(frozen=True)
class TensorGate:
    """Limits of raw tensors, which every output must keep. See `gates.toml`."""

    tolerance: float
    agreement: float
    flat_channels: float
    sqnr_db: float | None = None
    relative_error: float | None = None

    def judge(self, parity: Parity) -> Verdict:
        """Hold every output's figures against the limits."""
        missed = [problem for figures in parity.outputs for problem in self._problems(figures)]
        return Verdict(missed=tuple(missed))

    def _problems(self, figures: TensorParity) -> Iterator[str]:
        name, relative = printable(figures.name), figures.relative_error
        if figures.nonfinite or relative is None:
            yield f"{name}: {figures.nonfinite} of its numbers are NaN or infinite"
            return
        if figures.flat_channels > self.flat_channels * figures.channels:
            yield (
                f"{name}: {figures.flat_channels} of {figures.channels} channels became one and "
                "the same number each"
            )
        if figures.agreement is not None:
            if not figures.agreement >= self.agreement - _ROUNDING:
                yield (
                    f"{name}: {figures.agreement:.2%} of its whole numbers are the same < "
                    f"{self.agreement:.1%}"
                )
            return
        if self.relative_error is not None and not relative <= self.relative_error:
            yield f"{name}: max error {relative:.2g} of its range > {self.relative_error:g}"
        if self.sqnr_db is None:
            return
        if figures.sqnr_db is None:
            if relative > _STILL:
                yield f"{name}: off by {relative:.2g} where the trained model never changes"
        elif not figures.sqnr_db >= self.sqnr_db:
            yield f"{name}: signal to noise {figures.sqnr_db:.1f} dB < {self.sqnr_db:g} dB"


@dataclass(frozen=True)
class Gate:
    """Limits of one precision; `None` where a figure has none. See `gates.toml`."""

    tolerance: float
    max_abs_error: float | None = None
    top1_agreement: float | None = None
    accuracy_drop: float | None = None
    half_arithmetic: float | None = None
    # Nothing may differ unless the table says how much.
    tensors: TensorGate = TensorGate(tolerance=1e-9, agreement=1.0, flat_channels=0.0)

    def tolerance_of(self, task: str) -> float:
        """How far a recorded number may lie: a probability, or one of raw tensors."""
        return self.tensors.tolerance if task == "tensors" else self.tolerance

    def judge(self, parity: Parity) -> Verdict:
        """Hold figures against the limits.

        A limit is kept or missed by the figure itself; whether so many pictures can tell is said
        by its 95 % interval. Every comparison is written so that a missing or NaN figure misses.
        """
        if parity.outputs:
            return self.tensors.judge(parity)
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


def _gate(limits: dict[str, Any]) -> Gate:
    return Gate(**{**limits, "tensors": TensorGate(**limits["tensors"])})


@cache
def gates() -> Mapping[str, Gate]:
    """All gates by precision."""
    text = (Path(__file__).parent / "gates.toml").read_text(encoding="utf-8")
    return {precision: _gate(limits) for precision, limits in tomllib.loads(text).items()}


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
