"""Numbers as reports show them, and the cells of their tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
# A number and its unit stay on one line.
GAP = "\N{NO-BREAK SPACE}"

Shade = Literal["", "hot", "cool", "share", "quiet", "bad", "none"]
Frame = Literal["", "worse", "better"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        note: said below the value, smaller.
        shade: its colour: `hot` and `cool` are the two ends of a scale, `share` is neutral, `quiet`
            is for what is not worth a look, `bad` for what is wrong, `none` for what is not there.
        level: how much of that colour, 0 to 1.
        title: more, for those who point at it; never the only place where it is said.
    """

    value: str
    note: str = ""
    shade: Shade = ""
    level: float = 0.0
    title: str = ""
    frame: Frame = ""


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.987 as `98.7 %`."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}{GAP}%"


def interval(low: float | None, high: float | None) -> str:
    """Two fractions as `97.1 to 99.5 %`."""
    if low is None or high is None:
        return ""
    return f"{_signed(100 * low, 1, plus=False)} to {_signed(100 * high, 1, plus=False)}{GAP}%"


def points(fraction: float | None, digits: int = 1) -> str:
    """A difference of two fractions as `+1.5`, in percentage points."""
    return NONE if fraction is None else _signed(100 * fraction, digits)


def points_interval(low: float | None, high: float | None) -> str:
    """An interval of such a difference."""
    if low is None or high is None:
        return ""
    return f"{_signed(100 * low, 1)} to {_signed(100 * high, 1)}"


def scientific(value: float | None) -> str:
    """0.00012 as `1.2e-4`; numbers that are not finite have no figure."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", MINUS)


def likelihood(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def size(count: int) -> str:
    """A number of bytes."""
    return f"{count / 1e3:.1f}{GAP}kB" if count < 100_000 else f"{count / 1e6:.2f}{GAP}MB"


def milliseconds(value: float | None) -> str:
    """A time."""
    if value is None:
        return NONE
    digits = 3 if value < 0.1 else 2 if value < 100 else 0
    return f"{value:.{digits}f}{GAP}ms"


def decibels(value: float | None) -> str:
    """A ratio of signal and noise; `None` is a layer without any noise."""
    return "no noise" if value is None else f"{_signed(value, 1, plus=False)}{GAP}dB"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _signed(value: float, digits: int, *, plus: bool = True) -> str:
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return (MINUS if value < 0 else "+" * plus) + text
