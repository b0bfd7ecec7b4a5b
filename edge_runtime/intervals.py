"""How sure a handful of pictures can make us: intervals of fractions, and of paired differences."""

from __future__ import annotations

import math

# Two-sided 95 % of the normal distribution.
Z95 = 1.959963984540054


def wilson_interval(right: int, samples: int, z: float = Z95) -> tuple[float, float]:
    """95 % interval of a fraction; unlike the usual formula it holds near 0 and 1 as well.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927).
    """
    share = right / samples
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples**2))
    middle, scale = share + z * z / (2 * samples), 1 + z * z / samples
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def paired_interval(lost: int, won: int, samples: int, z: float = Z95) -> tuple[float, float]:
    """95 % interval of a drop in accuracy on the same pictures: (lost - won) / samples.

    Source: A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005): half a picture is added to each of the four
    cells, so that no change at all still has an interval.

    Args:
        lost: pictures that only the first of the two answers right.
        won: pictures that only the second answers right.
    """
    total, b, c = samples + 2, lost + 0.5, won + 0.5
    middle = (b - c) / total
    spread = z * math.sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total
    return max(-1.0, middle - spread), min(1.0, middle + spread)


def mcnemar_p(lost: int, won: int) -> float:
    """How likely at least so unequal a split is if neither is better: exact, two-sided.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947), with the binomial instead of chi-square.
    """
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)
