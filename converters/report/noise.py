"""Noise of each layer, on a scale of decibels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from converters.outcome import Outcome
from converters.report import verdict
from edge_runtime import words
from edge_runtime.manifest import LayerNoise

# So many layers are seen at once; the others unfold.
FIRST_LAYERS = 12
# Beyond this, more decibels are no news.
_MOST_DB = 80.0
_TICK_DB = 20


@dataclass(frozen=True)
class Bar:
    """One layer. `at` and `own_at` are places on the scale, 0 to 100; `None` without noise."""

    layer: str
    operator: str
    db: str
    own_db: str
    at: float | None
    own_at: float | None


@dataclass(frozen=True)
class NoisyVariant:
    """One variant's layers, the noisiest first; `is_open` of those that are seen at once."""

    name: str
    kind: str
    status: str
    is_open: bool
    mended: bool
    worst: Bar
    first: tuple[Bar, ...]
    more: tuple[Bar, ...]
    ticks: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class _Scale:
    """Decibels from left to right, between two ticks."""

    low: int
    high: int

    @classmethod
    def of(cls, layers: Sequence[LayerNoise]) -> _Scale:
        found = [v for n in layers for v in (n.sqnr_db, n.own_db) if v is not None]
        least, most = min(found, default=0.0), max(found, default=0.0)
        # Noise ten times as strong as the signal is as bad as any.
        low = -_TICK_DB if least < 0 else 0
        high = _TICK_DB * math.ceil(min(_MOST_DB, max(most, 2 * _TICK_DB)) / _TICK_DB)
        return cls(low, high)

    def at(self, value: float | None) -> float | None:
        """Per cent of the way; what lies beyond is at the end."""
        if value is None:
            return None
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 1)

    def ticks(self) -> tuple[tuple[int, float], ...]:
        steps = range(self.low, self.high + 1, _TICK_DB)
        return tuple((db, self.at(db) or 0.0) for db in steps)

    def bar(self, noise: LayerNoise) -> Bar:
        return Bar(
            layer=noise.layer,
            operator=noise.operator,
            db=words.decibels(noise.sqnr_db),
            own_db="" if noise.own_db is None else words.decibels(noise.own_db),
            at=self.at(noise.sqnr_db),
            own_at=self.at(noise.own_db),
        )


def noisy_variants(outcomes: Sequence[Outcome]) -> tuple[NoisyVariant, ...]:
    """Those whose noise was measured, all on one scale."""
    noisy = [o for o in outcomes if o.noise]
    scale = _Scale.of([layer for outcome in noisy for layer in outcome.noise])
    # What missed its gate is looked at first, or else what comes nearest to it.
    opened = [o for o in noisy if verdict.kind(o) == "fail"]
    opened = opened or sorted(noisy, key=_least_db)[:1]
    made = []
    for outcome in noisy:
        bars = tuple(scale.bar(layer) for layer in outcome.noise)
        made.append(
            NoisyVariant(
                name=outcome.name,
                kind=verdict.kind(outcome),
                status=verdict.status(outcome),
                is_open=outcome in opened,
                mended=outcome.repaired is not None,
                worst=bars[0],
                first=bars[:FIRST_LAYERS],
                more=bars[FIRST_LAYERS:],
                ticks=scale.ticks(),
            )
        )
    return tuple(made)


def _least_db(outcome: Outcome) -> float:
    return min((n.sqnr_db for n in outcome.noise if n.sqnr_db is not None), default=math.inf)
