"""Mending a variant that misses its gate: first its calibration, then its most harmful parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from converters.blame import Blame, blame_onnx, blame_tflite, tflite_layers
from converters.errors import ConversionError
from converters.onnx.probe import OnnxProbe
from converters.prove import Proof, prove
from converters.quantisation_plan import QuantisationPlan
from converters.regions import Region, regions
from converters.subject import Subject
from converters.tflite.graph import TfliteGraph
from converters.variants import Ingredients, Recipe
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.manifest import RepairStep

BLAME_PICTURES = 16
PERCENTILES = (99.999, 99.99, 99.9)
# A file with a larger share of its parts in float than this is no quantised file any more.
MOST_KEPT = 0.6


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
        return replace(attempt, rehearsal=self._divergence(attempt.graph))

    def harm(self, plan: QuantisationPlan, parts: list[Region]) -> list[float]:
        """What each part does to the answers when all others are in float.

        Returns:
            the mean Kullback-Leibler divergence from the trained model on calibration pictures.
        """
        whole = frozenset[str]().union(*(part.keys for part in parts))
        found = []
        for number, part in enumerate(parts, 1):
            self.say(f"what rounding {part.layer} alone does ({number} of {len(parts)})")
            try:
                others = replace(plan, keep=whole - part.keys, keep_as="float32")
                graph = self.recipe.make(self.ingredients, others)
                found.append(self._divergence(graph))
            except (ConversionError, EngineError, TensorError):
                found.append(math.inf)
        return found

    def regions(self) -> list[Region]:
        """What can be kept in higher precision, in the order of execution."""
        graph = self.ingredients.graph(self.recipe)
        if self.recipe.format == "tflite":
            return regions(tflite_layers(TfliteGraph(graph)))
        return regions(OnnxProbe(graph).layers())

    def _divergence(self, graph: bytes) -> float:
        path = self.folder / f"rehearsal.{self.recipe.format}"
        write_bytes(path, graph)
        return self.subject.rehearsal.divergence(self.recipe, path)

    def blame(self, graph: bytes) -> list[Blame]:
        """The layers of a made graph, the noisiest first."""
        pictures = self.ingredients.pixels[:BLAME_PICTURES]
        compare_layers = blame_tflite if self.recipe.format == "tflite" else blame_onnx
        return compare_layers(self.ingredients.graph(self.recipe), graph, pictures)


@dataclass(frozen=True, eq=False)
class Repair:
    """Everything that was tried, in order, and what is shipped of it.

    Attributes:
        mended: the attempt that is shipped: it keeps the gate and keeps the fewest parts; `None`
            when none does.
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

    Calibration costs nothing on the device, so it comes first; then the parts that do most harm are
    kept in higher precision, and the fewest that do are looked for. What is better is judged on
    calibration pictures: choosing on the held-out ones would be choosing by luck.

    Args:
        first: the attempt that misses its gate.
        keep_as: what parts are kept as; int16 leaves a TFLite file integers from end to end.
    """
    first = bench.rehearsed(first)
    attempts, parts = [first], bench.regions()
    names = {key: part.layer for part in parts for key in part.keys}
    for attempt in _tried(bench, _calibrations(bench, first.plan)):
        attempts.append(attempt)
        if attempt.passed:
            return Repair(tuple(attempts), attempt, names)
    base = min(attempts, key=lambda a: a.rehearsal)
    kept_as = keep_as if bench.recipe.name == "tflite-int8" else "float32"
    calibrated = f" ({base.what})" if base is not first else ""
    ladder = _Ladder(bench, replace(base.plan, keep_as=kept_as), parts, calibrated)
    mended = ladder.climb(attempts)
    return Repair(tuple(attempts), mended, names)


Plans = Iterator[tuple[QuantisationPlan, str]]


def _tried(bench: Workbench, plans: Plans) -> Iterator[Attempt]:
    for plan, what in plans:
        try:
            yield bench.attempt(plan, what)
        except (ConversionError, EngineError, TensorError):
            continue  # this way is not open to this model


def _calibrations(bench: Workbench, plan: QuantisationPlan) -> Plans:
    if not bench.recipe.calibrated:
        return
    pictures = len(bench.ingredients.pixels)
    if 0 < plan.pictures < pictures:
        plan = replace(plan, pictures=0)
        yield plan, f"calibrate on {pictures} pictures"
    ways = [replace(plan, method="mse")]
    ways += [replace(plan, method="percentile", percentile=share) for share in PERCENTILES]
    ways += [replace(plan, method="minmax"), replace(plan, method="entropy")]
    for way in ways:
        if way.calibration != plan.calibration:
            yield way, f"calibrate by the {way.calibration}"


@dataclass(frozen=True, eq=False)
class _Ladder:
    """Keeps parts in higher precision, those first that do most harm.

    Harm is measured and not guessed from the noise of a layer: of the noise of an early layer much
    is averaged away behind it, that of the last one is the answer's. Harms add up: their sum is
    what all of them do together, as long as it is small.

    Attributes:
        plan: the best calibration, and what parts are kept as.
        parts: in the order of execution.
        calibrated: how, in words.
    """

    bench: Workbench
    plan: QuantisationPlan
    parts: list[Region]
    calibrated: str

    def climb(self, attempts: list[Attempt]) -> Attempt | None:
        """The attempt with the fewest parts kept that keeps the gate; all that is tried is noted.

        One part is kept, then two, four, and so on up to as many as may be; then the fewest that do
        are looked for between the last two numbers.

        Returns:
            `None` when as many parts as may be kept do not do. Everything is kept once then: it
            shows whether rounding is all that is wrong.
        """
        harm = self.bench.harm(self.plan, self.parts)
        order = sorted(range(len(self.parts)), key=lambda number: -harm[number])
        most = int(len(order) * MOST_KEPT)
        enough, too_few, mended = min(1, most), 0, None
        while enough:
            mended = self._keep(order[:enough], attempts)
            if mended or enough == most:
                break
            too_few, enough = enough, min(2 * enough, most)
        if mended is None:
            self._keep(order, attempts)
        while mended and enough - too_few > 1:
            middle = (enough + too_few) // 2
            found = self._keep(order[:middle], attempts)
            if found:
                mended, enough = found, middle
            else:
                too_few = middle
        return mended

    def _keep(self, numbers: list[int], attempts: list[Attempt]) -> Attempt | None:
        """Keep these parts; the attempt if it keeps the gate."""
        if not numbers:
            return None
        keep = frozenset[str]().union(*(self.parts[n].keys for n in numbers))
        share = f"{len(numbers)} of {len(self.parts)}"
        what = f"keep {share} parts in {self.plan.keep_as}{self.calibrated}"
        found = list(_tried(self.bench, iter([(replace(self.plan, keep=keep), what)])))
        attempts += found
        return found[0] if found and found[0].passed else None
