"""From a training run to a bundle: make every variant, prove it, apply its gate, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.bundle_writer import bundle_name, require_free, staged_bundle, write_bundle
from converters.errors import ConversionError
from converters.outcome import Conversion, Outcome
from converters.prove import prove
from converters.subject import Subject, prepare
from converters.variants import Ingredients, Recipe, recipes
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.progress import progress_bar


@dataclass(frozen=True)
class ConvertOptions:
    """How a run is converted.

    Attributes:
        variants: names of those to make; empty for all.
        accept: names of those to ship although they miss their gate.
        data: where the photographs lie now; `None` for where training found them.
        samples: at most so many held-out pictures are compared.
        calibration: at most so many training pictures show the quantisers their ranges.
        seed: chooses which, when there are more.
        overwrite: whether a bundle already there gives way.
        command: what the user typed, for the record.
    """

    variants: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    data: Path | None = None
    samples: int = 500
    calibration: int = 200
    seed: int = 0
    overwrite: bool = False
    command: str = ""


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
        StorageError: when `out` exists or cannot be written.
    """
    run, out, options = Path(run), Path(out), options or ConvertOptions()
    chosen = recipes(options.variants)
    recipes(options.accept)  # a typo there must not wait for the end
    require_free(out, overwrite=options.overwrite)
    subject = prepare(
        run,
        data=options.data,
        samples=options.samples,
        calibration=options.calibration,
        seed=options.seed,
    )
    ingredients = Ingredients(subject.model, subject.calibration.inputs)
    outcomes: list[Outcome] = []

    def conversion(bundle: Path | None) -> Conversion:
        held_out = subject.record.data.held_out
        return Conversion(tuple(outcomes), bundle, len(subject.held_out.inputs), held_out)

    try:
        with staged_bundle(out, overwrite=options.overwrite) as folder:
            for recipe in chosen:
                outcomes.append(_make(recipe, folder, ingredients, subject, options.accept))
            if not any(outcome.shipped for outcome in outcomes):
                raise _NothingToShipError
            write_bundle(folder, bundle_name(out), subject, outcomes, options.command)
    except _NothingToShipError:
        return conversion(None)
    return conversion(out)


class _NothingToShipError(Exception):
    """Leaves the staged folder without renaming it."""


def _make(
    recipe: Recipe,
    folder: Path,
    ingredients: Ingredients,
    subject: Subject,
    accept: tuple[str, ...],
) -> Outcome:
    """Make and prove one variant. What goes wrong with it is no reason to lose the others."""
    total = len(subject.held_out.inputs)
    file = folder / "models" / f"{recipe.precision}.{recipe.format}"
    try:
        with progress_bar(recipe.name, total) as advance:
            model = recipe.make(ingredients)
            write_bytes(file, model)
            proof = prove(
                recipe, file, subject.record.head, subject.held_out, subject.reference, advance
            )
    except (ConversionError, EngineError, TensorError) as exc:
        file.unlink(missing_ok=True)
        return Outcome(recipe, None, None, 0, (str(exc),), shipped=False)
    shipped = not proof.missed or recipe.name in accept
    if not shipped:
        file.unlink()
    return Outcome(recipe, proof, file, len(model), proof.missed, shipped)
