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

    def missed(self, parity: Parity) -> tuple[str, ...]:
        """Which limits the figures miss, in words; empty when all are kept.

        Every comparison is written so that a missing or NaN figure misses.
        """
        problems = []
        if parity.nonfinite:
            problems.append(f"{parity.nonfinite} of its numbers are NaN or infinite")
        if self.max_abs_error is not None:
            error = parity.max_abs_error
            if error is None or not error <= self.max_abs_error:
                problems.append(f"max error {_figure(error)} > {self.max_abs_error:g}")
        if self.top1_agreement is not None:
            agreement = parity.top1_agreement
            if not agreement >= self.top1_agreement - _ROUNDING:
                problems.append(f"top-1 agreement {agreement:.2%} < {self.top1_agreement:.1%}")
        drop = parity.accuracy_drop
        limit = self.accuracy_drop
        if limit is not None and drop is not None and not drop <= limit + _ROUNDING:
            problems.append(f"accuracy drop {drop:.2%} > {limit:.1%}")
        return tuple(problems)


@cache
def gates() -> Mapping[str, Gate]:
    """All gates by precision."""
    text = (Path(__file__).parent / "gates.toml").read_text(encoding="utf-8")
    return {precision: Gate(**limits) for precision, limits in tomllib.loads(text).items()}


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
