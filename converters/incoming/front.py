"""From a file of somebody else's to a subject that is converted and proven like one of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, RunError
from converters.incoming.convention import (
    Asked,
    Convention,
    Taken,
    convention_of,
    is_plain_integer,
    takes_levels,
)
from converters.incoming.facts import Facts, PixelFacts
from converters.incoming.fingerprint import require_same
from converters.incoming.guess import Guess, guesses, is_sure
from converters.incoming.inspection import Inspector
from converters.incoming.kinds import Kind, weights_beside
from converters.incoming.labels import is_named, labels_of
from converters.incoming.meaning import HEADS, head_of
from converters.incoming.onnx2tf import HOW_TO_INSTALL, find_onnx2tf
from converters.incoming.pictures import (
    Drawn,
    Found,
    draw,
    few_of,
    find_pictures,
    indices_of,
    picture_doubts,
)
from converters.incoming.task import Task, TaskName, task_of
from converters.prove import raw_answers, reference_probabilities
from converters.run_folder import DataEntry, ModelEntry, TrainingRecord
from converters.subject import Subject
from converters.trained import TrainedModel
from converters.variants import RECIPES
from edge_runtime.head import Head, HeadKind
from edge_runtime.progress import progress_bar, status_line

_GUESS_PICTURES = 200
# So many tell whether shapes depend on the picture, and what answers look like.
_LOOKED_AT = 4
_WITH_CODE = ("keras", "h5", "json")
# Their libraries open a path, not bytes that were hashed.
_BY_PATH = (*_WITH_CODE, "savedmodel")
# A model that is right less often than this was perhaps asked in a way it was not trained for.
_DOUBTFUL_ACCURACY = 0.7


@dataclass(frozen=True)
class ForeignOptions:
    """What a model from elsewhere is told of.

    Attributes:
        labels: file of labels, in the order of the answers.
        calibrate: folder of real pictures, with or without class folders.
        weights: of a model whose structure is JSON.
        guess: whether the usual conventions are tried instead of asking.
        trust: whether code in the file may run.
        task: what its answers are taken for; unless given, what the model tells.
        head: what its numbers mean; unless given, what its last operator or they themselves tell.
        signature: of a SavedModel; unless given, the one that serves.
    """

    labels: Path | None = None
    calibrate: Path | None = None
    weights: Path | None = None
    asked: Asked = field(default_factory=Asked)
    guess: bool = False
    trust: bool = False
    task: TaskName | None = None
    head: HeadKind | None = None
    signature: str = ""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A subject, and what had to be known for it.

    Attributes:
        variants: what is made unless the user says otherwise.
        notes: why other variants are not, in words.
        tried: conventions that were guessed from, the best first; empty when nobody guessed.
    """

    subject: Subject
    taken: tuple[Taken, ...]
    variants: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tried: tuple[Guess, ...] = ()


def prepare_foreign(
    path: Path,
    kind: Kind,
    options: ForeignOptions,
    *,
    samples: int = 500,
    calibration: int = 200,
    seed: int = 0,
    tell: Callable[[tuple[Taken, ...], tuple[Guess, ...]], None] = lambda _, __: None,
) -> Prepared:
    """Inspect a model, settle how pictures become its input, and ask it for its answers.

    Args:
        tell: given what was taken from where, and what was guessed, before the long work begins.

    Raises:
        RunError: when the file is damaged or hostile, or something that must be known is not.
        ConversionError: when what reads or runs it is not installed, or it answers NaN.
    """
    found = find_pictures(_pictures(path, options))
    reader = _reader_options(path, kind, options)
    with status_line(f"looking at {path.name}"), Inspector() as inspector:
        facts = inspector.facts(kind, path, **reader)
    asked = replace(options.asked, scale=1.0) if options.guess else options.asked
    convention, taken = convention_of(str(path), facts, asked)
    taken = (*_of_the_file(facts, options), *taken)
    model = _opened(kind, path, facts, convention, reader)
    given = model.tensors(few_of(found, convention.preprocess, _LOOKED_AT).inputs)
    units = given[0][0].size
    named = options.labels is not None or is_named(facts, units, found)
    wanted = options.task or ("classification" if options.head else None)
    task = task_of(str(path), facts, given, wanted, named=named)
    if task.name == "tensors":
        _require_no_labels(path, options, task)
        taken = (*taken, Taken("answers", f"{task.form}, as raw tensors", task.why))
        tell(taken, ())
        from converters.incoming.tensors import tensor_subject

        subject = tensor_subject(
            path,
            model,
            facts,
            found,
            given,
            taken,
            samples=samples,
            calibration=calibration,
            seed=seed,
            sha256=facts.sha256,
        )
        variants, notes = _what_to_make(model, subject.record.head, kind)
        return Prepared(subject, taken, variants, notes)
    labels, from_where = labels_of(facts, units, options.labels, found)
    indices = indices_of(found, labels)
    tried: tuple[Guess, ...] = ()
    if options.guess:
        tried = _guessed(path, model, facts, found, indices, seed, options.head)
        if tried[0].accuracy <= 0:
            raise RunError(
                f"{path}: no convention answers one picture right; are these its labels?"
            )
        model.convention = tried[0].convention
        taken = (*(t for t in taken if t.what not in ("scaling", "channels")), _as_taken(tried))
    drawn = draw(
        found, indices, convention.preprocess, samples=samples, calibration=calibration, seed=seed
    )
    raw = raw_answers(model, drawn.held_out.inputs[:_GUESS_PICTURES])
    head, why = head_of(raw, facts, str(path), options.head)
    taken = (*taken, from_where, Taken("answers", HEADS[head.kind], why))
    tell(taken, tried)
    subject = _subject(path, model, labels, head, drawn, taken)
    variants, notes = _what_to_make(model, head, kind)
    return Prepared(subject, taken, variants, notes, tried)


def _reader_options(path: Path, kind: Kind, options: ForeignOptions) -> dict[str, Any]:
    """What the process that opens the file is told. Raises RunError for what does not belong."""
    reader: dict[str, Any] = {}
    if kind in _WITH_CODE:
        reader["trust"] = options.trust
    if options.weights is not None and kind != "json":
        raise RunError(f"{path}: holds its own weights; --weights is for a model of JSON.")
    if kind == "json":
        reader["weights"] = str(weights_beside(path, options.weights))
    if options.signature and kind != "savedmodel":
        raise RunError(f"{path}: is no SavedModel; only those have signatures (--signature).")
    if options.signature:
        reader["signature"] = options.signature
    return reader


def _of_the_file(facts: Facts, options: ForeignOptions) -> list[Taken]:
    """What was taken of a file that holds more than one thing."""
    taken = []
    if facts.signature:
        others = [repr(name) for name in facts.signatures if name != facts.signature]
        also = f"; also there: {', '.join(others[:8])}, see --signature" if others else ""
        who = "--signature" if options.signature else f"the file{also}"
        taken.append(Taken("signature", repr(facts.signature), who))
    if facts.policy:
        why = f"its weights; {facts.policy} was for training, and the model is compared in float32"
        taken.append(Taken("arithmetic", "float32", why))
    return taken


def _pictures(path: Path, options: ForeignOptions) -> Path:
    if options.calibrate is None:
        raise RunError(
            f"{path}: was not trained by edgeproof, which therefore has no pictures for it; "
            "--calibrate FOLDER names a folder of real ones: 100 or more like those that the "
            "device will see, in class folders where they are labelled."
        )
    return options.calibrate


def _require_no_labels(path: Path, options: ForeignOptions, task: Task) -> None:
    """What is said of labels is of no use to raw tensors. Raises RunError."""
    for option, given in (("--labels", options.labels), ("--guess", options.guess)):
        if given:
            raise RunError(
                f"{path}: answers {task.form} ({task.why}), packed as raw tensors; {option} is for "
                "one probability per label."
            )


def _opened(
    kind: Kind, path: Path, facts: Facts, convention: Convention, reader: dict[str, Any]
) -> Any:
    """The model on its own runtime; the file was opened before in another process.

    Raises RunError when it is not the same any more.
    """
    beside = [Path(reader["weights"])] if "weights" in reader else []
    if kind in _BY_PATH:
        require_same(path, facts.sha256, beside)
    model = _loaded(kind, path, facts, convention, reader)
    if kind in _BY_PATH:
        require_same(path, facts.sha256, beside)
    return model


def _loaded(
    kind: Kind, path: Path, facts: Facts, convention: Convention, reader: dict[str, Any]
) -> Any:
    from converters.incoming import models

    if kind == "tflite":
        return models.TfliteModel(path, facts, convention)
    if kind == "onnx":
        return models.OnnxModel(path, facts, convention)
    if kind == "savedmodel":
        from converters.incoming.savedmodel import load_savedmodel

        loaded = load_savedmodel(path, facts.signature)
        return models.SavedModelModel(path, facts, convention, loaded)
    from converters.incoming.arithmetic import in_float32

    model, _ = in_float32(path, _loaded_keras(kind, path, reader))
    return models.KerasModel(path, facts, convention, model)


def _loaded_keras(kind: Kind, path: Path, reader: dict[str, Any]) -> Any:
    if kind == "keras":
        from converters.incoming.keras_file import load_keras

        return load_keras(path, trust=reader["trust"])
    from converters.keras2 import load_h5, load_json

    if kind == "json":
        return load_json(path, Path(reader["weights"]), trust=reader["trust"])
    return load_h5(path, trust=reader["trust"])


def _guessed(
    path: Path,
    model: Any,
    facts: Facts,
    found: Found,
    indices: np.ndarray | None,
    seed: int,
    head: HeadKind | None,
) -> tuple[Guess, ...]:
    if indices is None:
        raise RunError(
            f"{path}: --guess compares right answers, and the pictures of {found.root} are not in "
            "folders named after the model's labels; name them so, or give --labels FILE."
        )
    if facts.precision and facts.inputs[0].scale > 0:
        raise RunError(
            f"{path}: its input's quantisation says how pixels are scaled; there is nothing to "
            "guess. Leave out --guess."
        )
    preprocess = model.convention.preprocess
    pictures = few_of(found, preprocess, _GUESS_PICTURES, indices, seed)
    assert pictures.labels is not None  # they have their indices

    def meaning(raw: np.ndarray) -> Head:
        if head is None and raw.shape[1] == 1 and not facts.ends_in:
            # Asked in a wrong way, it answers other numbers: what they mean is no guess.
            raise RunError(
                f"{path}: answers one number that its last operator does not tell the meaning of; "
                "--guess needs --head sigmoid or --head logit."
            )
        return head_of(raw, facts, str(path), head)[0]

    def probabilities(candidate: Convention, pixels: np.ndarray) -> np.ndarray:
        model.convention = candidate
        raw = raw_answers(model, pixels)
        return meaning(raw).probabilities(raw)

    def possible(pixels: PixelFacts) -> bool:
        taken = facts.inputs[0]
        return not is_plain_integer(taken) or takes_levels(taken, pixels)

    with status_line("trying the usual conventions"):
        tried = guesses(model.convention, pictures.inputs, pictures.labels, probabilities, possible)
    return tuple(tried)


def _as_taken(tried: tuple[Guess, ...]) -> Taken:
    best = tried[0]
    sure = "others are as good but for chance, or it is none of these"
    if is_sure(list(tried)):
        sure = "surely the best of these"
    count = len(best.right)
    origin = f"--guess: {best.accuracy:.1%} of {count} pictures right, {sure}; {best.options}"
    return Taken("scaling", best.name, origin)


def _subject(
    path: Path,
    model: TrainedModel,
    labels: tuple[str, ...],
    head: Head,
    drawn: Drawn,
    taken: tuple[Taken, ...],
) -> Subject:
    record = TrainingRecord(
        schema_version=1,
        architecture=path.name,
        labels=labels,
        preprocess=model.convention.preprocess,  # type: ignore[attr-defined]
        head=head,
        model=ModelEntry(path="model", sha256=model.facts.sha256),  # type: ignore[attr-defined]
        data=DataEntry(root=str(path.parent), train=(), val=(), test=(), held_out="test"),
    )
    held_out = drawn.held_out
    with progress_bar("the model's own answers", len(held_out.inputs)) as advance:
        reference = reference_probabilities(model, head, held_out, advance)
    return Subject(
        run=path,
        record=record,
        model=model,
        held_out=held_out,
        calibration=drawn.calibration,
        reference=reference,
        taken=tuple(map(str, taken)),
        doubts=tuple(_doubts(drawn, labels, head, reference)),
    )


def _doubts(drawn: Drawn, labels: tuple[str, ...], head: Head, reference: np.ndarray) -> list[str]:
    doubts = []
    truths = drawn.held_out.labels
    right = 1.0 if truths is None else float((reference.argmax(axis=1) == truths).mean())
    if right < _DOUBTFUL_ACCURACY:
        doubts.append(
            f"The model itself answers only {right:.1%} of the pictures as their folders say. Are "
            "these its labels, in its order, and is this how it wants its pixels? --labels and "
            "--guess tell."
        )
    if head.kind == "logits" and labels == tuple(map(str, range(len(labels)))):
        doubts.append(
            f"The model answers {len(labels)} numbers that are no probabilities, and nobody has "
            "named them. They are taken for classes before a softmax; if they are features, "
            "--task tensors packs and proves all of them."
        )
    return doubts + picture_doubts(drawn)


def _what_to_make(
    model: TrainedModel, head: Head, kind: Kind
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of variants, and why not the others."""
    packed = tuple(model.as_it_is(head))
    if packed:
        return packed, (
            f"{', '.join(packed)} is the file itself, packed. Nothing else is made of it: what was "
            "rounded does not come back, so that another precision would be larger or worse.",
        )
    names = tuple(recipe.name for recipe in RECIPES)
    if kind == "onnx" and find_onnx2tf() is None:
        onnx = tuple(name for name in names if name.startswith("onnx"))
        return onnx, (f"TFLite files are not made: {HOW_TO_INSTALL}.",)
    return (), ()


def require_known(kind: Kind, options: ForeignOptions) -> None:
    """Refuse what a run of ours cannot be told. Raises ConversionError."""
    if kind == "run" and options != ForeignOptions():
        raise ConversionError(
            "--labels, --calibrate, --weights, --guess, --trust, --task, --head, --signature and "
            "what is said of pixels are for models from elsewhere; a training run says all that "
            "itself."
        )
