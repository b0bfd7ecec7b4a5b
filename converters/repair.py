"""Mending a variant that misses its gate: first its calibration, then its worst layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from converters.blame import Blame, blame_onnx, blame_tflite
from converters.errors import ConversionError
from converters.prove import Proof, answers, prove
from converters.quantisation_plan import QuantisationPlan
from converters.subject import Subject
from converters.variants import Ingredients, Recipe
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.manifest import RepairStep
from edge_runtime.parity import compare

BLAME_PICTURES = 16
PERCENTILES = (99.999, 99.99, 99.9)
# A file with more of its layers in float than this is no quantised file any more.
MOST_KEPT = 0.6
_CALIBRATED = ("int8", "int16x8")
# Move numbers without computing any: to keep one of these in float mends nothing.
_PASSIVE = {"cast", "flatten", "reshape", "squeeze", "transpose", "unsqueeze"}


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way of making a variant, made and proven.

    Attributes:
        what: in words.
        graph: the file without metadata, which blame compares.
        file: the file as it would be shipped.
        rehearsal: mean Kullback-Leibler divergence from the trained model on calibration pictures;
            infinite before it was looked at.
    """

    what: str
    plan: QuantisationPlan
    graph: bytes
    file: bytes
    proof: Proof
    rehearsal: float = math.inf

    @property
    def passed(self) -> bool:
        return not self.proof.verdict.missed

    def step(self, names: dict[str, str], *, chosen: bool) -> RepairStep:
        """As a bundle tells it; `names` gives the layer of each kept key."""
        return RepairStep(
            what=self.what,
            kept=tuple(sorted({names.get(key, key) for key in self.plan.keep})),
            parity=self.proof.parity,
            missed=self.proof.verdict.missed,
            bytes=len(self.file),
            latency_ms=self.proof.latency_ms,
            chosen=chosen,
        )


@dataclass(frozen=True, eq=False)
class Workbench:
    """Makes and proves one variant by one plan after another.

    Attributes:
        folder: where files are written to be run.
        say: told what is being tried.
    """

    recipe: Recipe
    ingredients: Ingredients
    subject: Subject
    folder: Path
    say: Callable[[str], None] = lambda _: None

    def attempt(self, plan: QuantisationPlan, what: str) -> Attempt:
        """Raises ConversionError, EngineError or TensorError when the plan makes no file."""
        self.say(what)
        graph = self.recipe.make(self.ingredients, plan)
        file = self.recipe.finish(graph, self.ingredients)
        path = self.folder / f"attempt.{self.recipe.format}"
        write_bytes(path, file)
        subject = self.subject
        proof = prove(self.recipe, path, subject.held_out, subject.reference, lambda _: None)
        proof = proof.timed(self.recipe, path, subject.held_out.inputs[:1])
        return self.rehearsed(Attempt(what, plan, graph, file, proof))

    def rehearsed(self, attempt: Attempt) -> Attempt:
        """The same with its divergence on calibration pictures."""
        path = self.folder / f"attempt.{self.recipe.format}"
        write_bytes(path, attempt.file)
        pictures, reference = self.subject.rehearsal
        _, _, given = answers(self.recipe, path, pictures, lambda _: None)
        divergence = compare(reference, given).kl_divergence
        return replace(attempt, rehearsal=math.inf if divergence is None else divergence)

    def blame(self, graph: bytes) -> list[Blame]:
        """The layers of a made graph, the noisiest first."""
        pictures = self.ingredients.pixels[:BLAME_PICTURES]
        compare_layers = blame_tflite if self.recipe.format == "tflite" else blame_onnx
        return compare_layers(self.ingredients.graph(self.recipe), graph, pictures)


@dataclass(frozen=True, eq=False)
class Repair:
    """Everything that was tried, in order, and what is shipped of it.

    Attributes:
        mended: the first attempt that keeps the gate; `None` when none does.
    """

    attempts: tuple[Attempt, ...]
    mended: Attempt | None
    names: dict[str, str]

    def steps(self) -> tuple[RepairStep, ...]:
        """As a bundle tells it."""
        return tuple(a.step(self.names, chosen=a is self.mended) for a in self.attempts)


def repair(
    bench: Workbench, first: Attempt, *, keep_as: Literal["float32", "int16"] = "float32"
) -> Repair:
    """Try plans until one keeps the gate.

    Calibration costs nothing on the device, so it comes first; then layers are kept in higher
    precision, twice as many each time, and the fewest that do are looked for. Which plan is better
    is judged on calibration pictures: choosing on the held-out ones would be choosing by luck.

    Args:
        first: the attempt that misses its gate.
        keep_as: what layers are kept as; int16 leaves a TFLite file integers from end to end.
    """
    first = bench.rehearsed(first)
    attempts, names = [first], {b.key: b.layer for b in _computing(bench, first)}
    tries = _tried(bench, _calibrations(bench, first.plan))
    for attempt in tries:
        attempts.append(attempt)
        if attempt.passed:
            return Repair(tuple(attempts), attempt, names)
    base = min(attempts, key=lambda a: a.rehearsal)
    rankings = _rankings(_computing(bench, base))
    too_few = 0
    for count in _counts(len(names)):
        kept = list(_tried(bench, _layer_plans(bench, base, rankings, count, keep_as)))
        attempts += kept
        passing = [a for a in kept if a.passed]
        if passing:
            mended = min(passing, key=lambda a: a.rehearsal)
            ranking = next(r for r in rankings.values() if mended.plan.keep == set(r[:count]))
            fewest = _fewest(bench, mended, ranking, too_few, attempts)
            return Repair(tuple(attempts), fewest, names)
        too_few = count
    return Repair(tuple(attempts), None, names)


Plans = Iterator[tuple[QuantisationPlan, str]]


def _tried(bench: Workbench, plans: Plans) -> Iterator[Attempt]:
    for plan, what in plans:
        try:
            yield bench.attempt(plan, what)
        except (ConversionError, EngineError, TensorError):
            continue  # this way is not open to this model


def _calibrations(bench: Workbench, plan: QuantisationPlan) -> Plans:
    if bench.recipe.precision not in _CALIBRATED:
        return
    pictures = len(bench.ingredients.pixels)
    if 0 < plan.pictures < pictures:
        plan = replace(plan, pictures=0)
        yield plan, f"calibrate on {pictures} pictures"
    for percentile in PERCENTILES:
        what = f"calibrate by the middle {percentile:g} % of values"
        yield replace(plan, method="percentile", percentile=percentile), what
    yield replace(plan, method="entropy"), "calibrate by least entropy"


def _counts(layers: int) -> Iterator[int]:
    """1, 2, 4, ... and at last as many as may be kept."""
    most, count = int(layers * MOST_KEPT), 1
    while count < most:
        yield count
        count *= 2
    if most:
        yield most


def _rankings(layers: Sequence[Blame]) -> dict[str, list[str]]:
    """Two guesses at which layers matter: those that add most noise, and the first ones.

    A layer near the input is small, and its noise is fed to everything behind it.
    """
    return {
        "noisiest": [b.key for b in sorted(layers, key=lambda b: -b.own)],
        "first": [b.key for b in sorted(layers, key=lambda b: b.position)],
    }


def _layer_plans(
    bench: Workbench,
    base: Attempt,
    rankings: Mapping[str, list[str]],
    count: int,
    keep_as: Literal["float32", "int16"],
) -> Plans:
    kept_as = keep_as if bench.recipe.name == "tflite-int8" else "float32"
    for why, ranking in rankings.items():
        plan = replace(base.plan, keep=frozenset(ranking[:count]), keep_as=kept_as)
        yield plan, f"keep the {why} {count} of {len(ranking)} layers in {kept_as}"


def _fewest(
    bench: Workbench, mended: Attempt, ranking: list[str], too_few: int, attempts: list[Attempt]
) -> Attempt:
    """Fewer of the same ranking, half of what may be too many less each time."""
    enough = len(mended.plan.keep)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        plan = replace(mended.plan, keep=frozenset(ranking[:middle]))
        what = f"keep only {middle} of them in {plan.keep_as}"
        found = list(_tried(bench, iter([(plan, what)])))
        attempts += found
        if found and found[0].passed:
            mended, enough = found[0], middle
        else:
            too_few = middle
    return mended


def _computing(bench: Workbench, attempt: Attempt) -> list[Blame]:
    return [b for b in bench.blame(attempt.graph) if b.operator.lower() not in _PASSIVE]
