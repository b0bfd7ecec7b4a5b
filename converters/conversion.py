"""From a training run to a bundle: make every variant, prove it, apply its gate, write."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from converters.abstain import choose_abstain
from converters.bundle_writer import bundle_name, require_free, staged_bundle, write_bundle
from converters.c_source import c_sources
from converters.errors import ConversionError
from converters.outcome import Conversion, CSource, Outcome
from converters.prove import Proof, prove
from converters.quantisation_plan import QuantisationPlan
from converters.rehearsal import make_best
from converters.repair import Attempt, Workbench, repair
from converters.subject import Subject, prepare
from converters.variants import C_SOURCE, C_SOURCE_OF, Choice, Ingredients, Recipe, choose
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.manifest import Abstain, LayerNoise
from edge_runtime.progress import progress_bars, status_line
from edge_runtime.target import target_of

CalibrateBy = Literal["auto", "minmax", "percentile", "entropy", "mse"]
# Repair may calibrate on more pictures than the first attempt did.
REPAIR_CALIBRATION = 1000


@dataclass(frozen=True)
class ConvertOptions:
    """How a run is converted.

    Attributes:
        variants: names of those to make; empty for what the target needs, or all.
        target: name of a device profile: what that device needs is made, and int8 ONNX as it
            wants it.
        accept: names of those to ship although they miss their gate.
        explain: find the noisiest layers of every variant, not only of those that miss.
        repair: mend variants that miss their gate.
        keep_as: what repair keeps layers as, once calibration is at its end.
        data: where the photographs lie now; `None` for where training found them.
        samples: at most so many held-out pictures are compared.
        calibration: at most so many training pictures show the quantisers their ranges.
        calibrate_by: how a range is found from them; `auto` tries what is sensible, and keeps what
            is nearest to the trained model on those pictures.
        seed: chooses which, when there are more.
        answers_right: fraction of the answers that shall be right on the device: each variant gets
            the score below which it answers `unknown` instead.
        overwrite: whether a bundle already there gives way.
        command: what the user typed, for the record.
    """

    variants: tuple[str, ...] = ()
    target: str | None = None
    accept: tuple[str, ...] = ()
    explain: bool = False
    repair: bool = False
    keep_as: Literal["float32", "int16"] = "float32"
    data: Path | None = None
    samples: int = 500
    calibration: int = 200
    calibrate_by: CalibrateBy = "auto"
    seed: int = 0
    answers_right: float = 0.95
    overwrite: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.answers_right <= 1:
            raise ConversionError(
                f"answers_right is a fraction above 0 and at most 1; got {self.answers_right}."
            )

    def plan(self) -> QuantisationPlan:
        """How quantised variants are made at first."""
        plan = QuantisationPlan(pictures=self.calibration)
        if self.calibrate_by != "auto":
            plan = replace(plan, method=self.calibrate_by)
        return replace(plan, scheme=target_of(self.target).onnx_int8) if self.target else plan

    @property
    def most_calibration(self) -> int:
        """How many calibration pictures are read: repair may want more."""
        return max(self.calibration, REPAIR_CALIBRATION if self.repair else 0)

    def choice(self) -> Choice:
        """What is made. Raises ConversionError or UnknownDeviceError for an unknown name."""
        target = target_of(self.target) if self.target else None
        return choose(self.variants or (target.export if target else ()))


def convert(run: str | Path, out: str | Path, options: ConvertOptions | None = None) -> Conversion:
    """Convert a training run to a bundle; the result says which variants passed.

    A variant that misses its gate stays out of the bundle unless it is accepted by name; where
    none is left, no bundle is made. `Conversion.require` turns that into an error.

    Args:
        run: the trainer's output folder.
        out: the bundle to make: a folder, or one file when it ends in `.zip`.

    Raises:
        RunError: when the run is damaged or its photographs are gone.
        ConversionError: when the trained model answers NaN, or a variant's name is unknown.
        UnknownDeviceError: when the target is unknown.
        StorageError: when `out` exists or cannot be written.
    """
    run, out, options = Path(run), Path(out), options or ConvertOptions()
    require_possible(out, options)
    subject = prepare(
        run,
        data=options.data,
        samples=options.samples,
        calibration=options.most_calibration,
        seed=options.seed,
    )
    return convert_subject(subject, out, options)


def require_possible(out: Path, options: ConvertOptions) -> None:
    """Find out before the work whether what is asked for can be.

    Raises:
        ConversionError: when a variant's name is unknown.
        UnknownDeviceError: when the target is unknown.
        StorageError: when `out` exists or cannot be written.
    """
    options.choice()
    choose(options.accept)  # a typo there must not wait for the end
    if C_SOURCE in options.accept:
        raise ConversionError(f"{C_SOURCE} has no gate of its own; accept {C_SOURCE_OF} instead.")
    require_free(out, overwrite=options.overwrite)


def convert_subject(subject: Subject, out: Path, options: ConvertOptions) -> Conversion:
    """Convert a model that is loaded already, with its pictures.

    Raises:
        StorageError: when `out` exists or cannot be written.
    """
    choice = options.choice()
    require_free(out, overwrite=options.overwrite)
    ingredients = Ingredients(
        model=subject.model,
        head=subject.record.head,
        name=bundle_name(out),
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        clip=subject.record.clip,
        pixels=subject.calibration.inputs,
        outputs=subject.outputs,
    )
    outcomes: list[Outcome] = []
    c_source: CSource | None = None
    bundle: Path | None = out
    try:
        with staged_bundle(out, overwrite=options.overwrite) as folder:
            maker = _Maker(folder, ingredients, subject, options)
            outcomes += maker.make_all([recipe.of(ingredients) for recipe in choice.recipes])
            if not any(outcome.shipped for outcome in outcomes):
                raise _NothingToShipError
            if choice.c_source:
                c_source = _make_c_source(folder, ingredients, subject, outcomes, options)
            write_bundle(folder, ingredients.name, subject, outcomes, c_source, options.command)
    except _NothingToShipError:
        bundle = None
        if C_SOURCE in options.variants:
            c_source = CSource((), f"is made of {C_SOURCE_OF}, which is not shipped.", asked=True)
    return Conversion(
        outcomes=tuple(outcomes),
        c_source=c_source,
        bundle=bundle,
        samples=len(subject.held_out.inputs),
        held_out=subject.record.data.held_out,
        labelled=subject.held_out.labels is not None,
        warnings=tuple(subject.warnings()),
        outputs=subject.outputs,
    )


@dataclass(frozen=True, eq=False)
class _Started:
    """A file that is made, and its proof that is under way."""

    plan: QuantisationPlan
    graph: bytes
    file: bytes
    proof: Future[Proof]


class _NothingToShipError(Exception):
    """Leaves the staged folder without renaming it."""


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes variants one after another, and proves each while the next is made."""

    folder: Path
    ingredients: Ingredients
    subject: Subject
    options: ConvertOptions

    def make_all(self, recipes: Sequence[Recipe]) -> list[Outcome]:
        """Make and prove. What goes wrong with one variant is no reason to lose the others."""
        stop = threading.Event()
        with progress_bars() as add_bar, ThreadPoolExecutor(1) as prover:
            try:
                started = [self._start(recipe, prover, add_bar, stop) for recipe in recipes]
                made = [self._waited(start) for start in started]
            except BaseException:
                stop.set()
                prover.shutdown(cancel_futures=True)
                raise
        return [self._outcome_of(recipe, m) for recipe, m in zip(recipes, made, strict=True)]

    def _start(
        self,
        recipe: Recipe,
        prover: ThreadPoolExecutor,
        add_bar: Callable[[str, int | None], Callable[[int], None]],
        stop: threading.Event,
    ) -> _Started | Exception:
        held_out = self.subject.held_out
        bar = add_bar(recipe.name, len(held_out.inputs))

        def advance(steps: int) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            bar(steps)

        try:
            plan, graph = self._made(recipe)
            file = recipe.finish(graph, self.ingredients)
        except ConversionError as exc:
            return exc
        path = self._file(recipe)
        write_bytes(path, file)
        proof = prover.submit(prove, recipe, path, held_out, self.subject.reference, advance)
        return _Started(plan, graph, file, proof)

    def _made(self, recipe: Recipe) -> tuple[QuantisationPlan, bytes]:
        plan = self.options.plan()
        if self.options.calibrate_by != "auto" or not recipe.calibrated:
            return plan, recipe.make(self.ingredients, plan)
        rehearsal, file = self.subject.rehearsal, self._file(recipe)
        return make_best(recipe, self.ingredients, plan, rehearsal, file)

    def _waited(self, started: _Started | Exception) -> Attempt | Exception:
        if isinstance(started, Exception):
            return started
        try:
            proof = started.proof.result()
        except (EngineError, TensorError) as exc:
            return exc
        return Attempt("as it comes", started.plan, started.graph, started.file, proof)

    def _outcome_of(self, recipe: Recipe, made: Attempt | Exception) -> Outcome:
        try:
            if isinstance(made, Exception):
                raise made
            proof = made.proof.timed(recipe, self._file(recipe), self.subject.held_out.inputs[:1])
            first = replace(made, proof=proof)
            if self.options.repair and not first.passed and recipe.plans:
                return self._repaired(recipe, first)
            return self._outcome(recipe, first)
        except (ConversionError, EngineError, TensorError) as exc:
            self._file(recipe).unlink(missing_ok=True)
            return Outcome(
                recipe,
                None,
                None,
                0,
                (str(exc).replace(f"{self._file(recipe)}: ", ""),),
                shipped=False,
            )

    def _file(self, recipe: Recipe) -> Path:
        return self.folder / "models" / f"{recipe.precision}.{recipe.format}"

    def _bench(self, recipe: Recipe, scratch: str = ".") -> Workbench:
        return Workbench(recipe, self.ingredients, self.subject, Path(scratch))

    def _repaired(self, recipe: Recipe, first: Attempt) -> Outcome:
        with (
            tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch,
            status_line(f"mending {recipe.name}") as say,
        ):
            bench = replace(self._bench(recipe, scratch), say=say)
            result = repair(bench, first, keep_as=self.options.keep_as)
        final = result.mended or first
        write_bytes(self._file(recipe), final.file)
        return replace(self._outcome(recipe, final, first), repair=result.steps())

    def _noise(self, recipe: Recipe, attempt: Attempt) -> tuple[LayerNoise, ...]:
        with status_line(f"{recipe.name}: noise of each layer"):
            return tuple(b.record() for b in self._bench(recipe).blame(attempt.graph))

    def _as_given(self, probabilities: np.ndarray) -> np.ndarray:
        """A device compares its score limit with scores at the bundle's temperature."""
        temperature = self.subject.record.temperature
        return probabilities if temperature is None else temperature(probabilities)

    def _outcome(self, recipe: Recipe, attempt: Attempt, mended: Attempt | None = None) -> Outcome:
        """What came of it. Which layers are at fault is asked of the file that missed its gate."""
        missed = attempt.proof.verdict.missed
        shipped = not missed or recipe.name in self.options.accept
        wanted = recipe.plans and (missed or mended or self.options.explain)
        return Outcome(
            recipe=recipe,
            proof=attempt.proof,
            file=self._file(recipe),
            bytes=len(attempt.file),
            problems=missed,
            shipped=shipped,
            plan=attempt.plan,
            noise=self._noise(recipe, mended or attempt) if wanted else (),
            abstain=self._abstain(attempt.proof),
        )

    def _abstain(self, proof: Proof) -> Abstain | None:
        labels = self.subject.held_out.labels
        if labels is None:
            return None  # nobody knows which answers are right
        given = self._as_given(proof.probabilities)
        return choose_abstain(given, labels, self.options.answers_right)


def _make_c_source(
    folder: Path,
    ingredients: Ingredients,
    subject: Subject,
    outcomes: list[Outcome],
    options: ConvertOptions,
) -> CSource:
    """Write the shipped int8 file as C++ source."""
    asked = C_SOURCE in options.variants
    if subject.outputs:
        return CSource((), "the C++ source answers labels, and this model raw tensors.", asked)
    origin = next(o for o in outcomes if o.name == C_SOURCE_OF)
    if not origin.shipped or origin.file is None:
        return CSource((), f"is made of {C_SOURCE_OF}, which is not in the bundle.", asked)
    try:
        sources = c_sources(
            origin.file.read_bytes(),
            name=ingredients.name,
            labels=ingredients.labels,
            preprocess=ingredients.preprocess,
            provenance_line=(
                f"{options.command or 'edgeproof convert'}; trained model: SHA-256 "
                f"{subject.record.model.sha256[:16]}"
            ),
        )
    except ConversionError as exc:
        return CSource((), str(exc), asked)
    files = []
    for name, content in sources.items():
        files.append(folder / "c" / name)
        write_bytes(files[-1], content)
    return CSource(tuple(files), "", asked)
