"""Two recordings of the same files, one of x86-64 and one of ARM: stage by stage, how far apart."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

FLOAT_LIMIT = 1e-5


@dataclass(frozen=True)
class Difference:
    """How one variant's answers on one engine differ.

    Attributes:
        steps: largest difference of an integer output, in its steps; None for float outputs.
        share: fraction of output numbers that differ at all.
        probability: largest difference of a probability.
        tolerance: what the bundle allows another engine.
        error: why it did not run; empty where it did.
        alike: it runs on neither side.
    """

    steps: int | None
    share: float
    probability: float
    error: str = ""
    alike: bool = False
    tolerance: float = 0.0

    @property
    def within(self) -> bool:
        """Equal to the bit where the output is integers, within 1e-5 where it is float."""
        if self.error:
            return self.alike
        return self.steps == 0 if self.steps is not None else self.probability <= FLOAT_LIMIT

    def __str__(self) -> str:
        if self.error:
            return "runs on neither" if self.alike else "does not run"
        if self.share == 0:
            return "same"
        if self.steps is None:
            return f"{self.probability:.1e}"
        return f"{self.steps} step{'s' if self.steps > 1 else ''} in {self.share:.1%}"


@dataclass(frozen=True)
class Comparison:
    """Everything of two recordings.

    Attributes:
        decode, preprocess: photographs whose bytes differ after that stage.
        answers: by "ENGINE/VARIANT".
        versions: the engine's version there, by the same.
    """

    photographs: int
    decode: int
    preprocess: int
    answers: dict[str, Difference]
    versions: dict[str, str]

    def failures(self) -> list[str]:
        """What is beyond its limit and not known, in words: any byte before the engine, answers."""
        known = known_differences()
        found = [
            f"{count} of {self.photographs} photographs differ at {stage}"
            for stage, count in (("decode", self.decode), ("preprocess", self.preprocess))
            if count
        ]
        for key, difference in self.answers.items():
            explained = key in known and not difference.error
            explained &= difference.probability <= difference.tolerance
            if not (difference.within or explained):
                why = f" ({difference.error})" if difference.error else ""
                off = f"probabilities off by up to {difference.probability:.2g}"
                found.append(f"{key}: {difference}, {off}{why}")
        return found

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "answers": {key: vars(d) for key, d in self.answers.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        answers = {key: Difference(**each) for key, each in values["answers"].items()}
        return cls(**{**values, "answers": answers})


def known_differences() -> dict[str, str]:
    """ "ENGINE/VARIANT" -> why it differs, from known.toml."""
    return tomllib.loads(Path(__file__).with_name("known.toml").read_text(encoding="utf-8"))


def compare(x86: Path, arm: Path) -> Comparison:
    """Hold one recording against the other; both are of the same bundle and photographs."""
    with np.load(x86, allow_pickle=False) as one, np.load(arm, allow_pickle=False) as other:
        facts, there = (json.loads(str(each["facts"])) for each in (one, other))
        if facts["photographs"] != there["photographs"]:
            raise ValueError(f"{arm}: is of other photographs than {x86}.")
        answers = {key: _difference(key, facts, there, one, other) for key in there["answers"]}
    return Comparison(
        photographs=len(facts["photographs"]),
        decode=_differing(facts["decode"], there["decode"]),
        preprocess=_differing(facts["preprocess"], there["preprocess"]),
        answers=answers,
        versions={key: each.get("version", "") for key, each in there["answers"].items()},
    )


def _differing(here: list[str], there: list[str]) -> int:
    return sum(a != b for a, b in zip(here, there, strict=True))


def _difference(key: str, facts: Any, there: Any, one: Any, other: Any) -> Difference:
    errors = [recorded["answers"].get(key, {}).get("error", "") for recorded in (facts, there)]
    if any(errors):
        sides = zip(("x86-64", "ARM"), errors, strict=True)
        why = "; ".join(f"{side}: {error}" for side, error in sides if error)
        # An operator that the runtime lacks everywhere is no difference.
        return Difference(None, 0.0, 0.0, why, alike=all(errors))
    raw, raw_there = one[f"raw/{key}"], other[f"raw/{key}"]
    probabilities, answered = one[f"probabilities/{key}"], other[f"probabilities/{key}"]
    if raw.shape != raw_there.shape or raw.dtype != raw_there.dtype:
        return Difference(None, 1.0, 1.0, "answers another shape or type")
    steps = None
    if raw.dtype.kind in "iu":
        steps = int(np.abs(raw.astype(np.int64) - raw_there.astype(np.int64)).max(initial=0))
    if not np.isfinite(answered).all():
        return Difference(steps, 1.0, 1.0, "answers what is not finite")
    off = float(np.abs(probabilities - answered).max(initial=0.0))
    tolerance = there["answers"][key].get("tolerance", 0.0)
    return Difference(steps, float((raw != raw_there).mean()), off, tolerance=tolerance)
