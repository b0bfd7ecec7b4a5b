"""Which of the usual conventions a model was trained with: the one that answers best."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from converters.incoming.convention import Channels, Convention
from converters.incoming.facts import PixelFacts
from edge_runtime.intervals import mcnemar_p

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LIKELY_BY_CHANCE = 0.05


@dataclass(frozen=True)
class Usual:
    """One line of `conventions.toml`; see there."""

    name: str
    options: str
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: tuple[Channels, ...] = ("rgb", "bgr")
    depths: tuple[int, ...] = (1, 3)


@dataclass(frozen=True, eq=False)
class Guess:
    """One convention that was tried.

    Attributes:
        accuracy: fraction of the labelled pictures that it gets right.
        right: bool, (samples,).
        likelihood: mean logarithm of the right label's probability.
    """

    convention: Convention
    name: str
    options: str
    accuracy: float
    right: np.ndarray
    likelihood: float


@cache
def usual_conventions() -> tuple[Usual, ...]:
    """All of `conventions.toml`."""
    text = (Path(__file__).parent / "conventions.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["convention"]
    return tuple(_usual(entry) for entry in entries)


def _usual(entry: dict[str, Any]) -> Usual:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Usual(**values)


def guesses(
    convention: Convention,
    pixels: np.ndarray,
    labels: np.ndarray,
    probabilities: Callable[[Convention, np.ndarray], np.ndarray],
    possible: Callable[[PixelFacts], bool] = lambda _: True,
) -> list[Guess]:
    """Try them all, the best first: by right answers, then by how sure it is of them.

    Args:
        convention: all but the scaling and the order of channels.
        pixels: uint8, (samples, H, W, 3), RGB.
        labels: int64, (samples,): the right ones.
        probabilities: what the model answers by a convention: float32, (samples, labels).
        possible: whether the model's input can hold pixels that are scaled so.
    """
    tried = []
    for candidate, name, options in _candidates(convention):
        if not possible(candidate.pixels):
            continue
        given = np.nan_to_num(probabilities(candidate, pixels))
        right = given.argmax(axis=1) == labels
        of_right = np.maximum(given[np.arange(len(labels)), labels], 1e-7)
        likelihood = float(np.log(of_right).mean())
        tried.append(Guess(candidate, name, options, float(right.mean()), right, likelihood))
    return sorted(tried, key=lambda g: (-g.accuracy, -g.likelihood))


def is_sure(tried: list[Guess]) -> bool:
    """Whether the best is better than each other by more than chance explains.

    Conventions that answer all pictures alike, as two orders of channels may, are told apart by
    nothing but how sure the model is: that is no proof.
    """
    best = tried[0]
    return all(_beyond_chance(best.right, other.right) for other in tried[1:])


def _beyond_chance(better: np.ndarray, worse: np.ndarray) -> bool:
    won, lost = int((better & ~worse).sum()), int((worse & ~better).sum())
    return won > lost and mcnemar_p(lost, won) < _LIKELY_BY_CHANCE


def _candidates(convention: Convention) -> Iterator[tuple[Convention, str, str]]:
    for usual in usual_conventions():
        if convention.depth not in usual.depths:
            continue
        pixels = PixelFacts(scale=usual.scale, mean=usual.mean, std=usual.std, origin="--guess")
        orders = usual.channels if convention.depth == 3 else usual.channels[:1]
        for channels in orders:
            order = "" if convention.depth == 1 else f", {channels.upper()}"
            option = " --channels bgr" if channels == "bgr" else ""
            candidate = replace(convention, pixels=pixels, channels=channels)
            yield candidate, usual.name + order, usual.options + option
