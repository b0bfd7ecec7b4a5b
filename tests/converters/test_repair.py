"""Repair: what is tried, in which order, and that it says so when nothing helps."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters.prove
import converters.repair
from converters import ConvertOptions, ParityError, convert
from converters.cli import print_conversion
from converters.gates import Gate, gates
from converters.quantisation_plan import QuantisationPlan
from converters.repair import MOST_KEPT, Workbench, repair
from converters.repair_words import why_not_mended
from converters.subject import Subject, prepare
from converters.variants import RECIPES, Ingredients, Recipe
from edge_runtime.bundle import Bundle
from edge_runtime.verification import verify

FACTOR = 1000.0
BY_NAME = {recipe.name: recipe for recipe in RECIPES}


@pytest.fixture(scope="module")
def skewed(trained: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run with one unit of its dense layer a thousand times as large as the others.

    The next layer takes it back, so that the model answers as before; but one step for the whole
    tensor is too coarse for all other units. Real networks fail int8 for the same reason.
    """
    from converters.keras_quiet import keras

    run = tmp_path_factory.mktemp("skewed") / "run"
    shutil.copytree(trained[3], run)
    model = keras.saving.load_model(run / "model.keras", compile=False)
    last = model.layers[-1]
    dense = next(x for x in reversed(model.layers[:-1]) if isinstance(x, keras.layers.Dense))
    (kernel, bias), (next_kernel, next_bias) = dense.get_weights(), last.get_weights()
    unit = int(np.abs(next_kernel).sum(axis=1).argmax())
    kernel[:, unit] *= FACTOR
    bias[unit] *= FACTOR
    next_kernel[unit] /= FACTOR
    dense.set_weights([kernel, bias])
    last.set_weights([next_kernel, next_bias])
    model.save(run / "model.keras")
    record = json.loads((run / "training.json").read_text())
    record["model"]["sha256"] = hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
    (run / "training.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="module")
def subject(skewed: Path) -> Subject:
    return prepare(skewed, data=None, samples=120, calibration=100, seed=0)


@pytest.fixture(scope="module")
def ingredients(subject: Subject) -> Ingredients:
    return Ingredients(
        model=subject.model,
        head=subject.record.head,
        name="colours",
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        pixels=subject.calibration.inputs,
    )


def demand(monkeypatch: pytest.MonkeyPatch, precision: str, limit: float) -> None:
    """Put a limit on the largest error of that precision, in place of its gate."""
    strict = {**gates(), precision: Gate(tolerance=0.1, max_abs_error=limit)}
    monkeypatch.setattr(converters.prove, "gates", lambda: strict)


def bench(recipe: Recipe, subject: Subject, ingredients: Ingredients, folder: Path) -> Workbench:
    return Workbench(recipe, ingredients, subject, folder)


def test_layers_are_kept_until_the_gate_holds(subject, ingredients, tmp_path: Path):
    table = bench(BY_NAME["tflite-int8"], subject, ingredients, tmp_path)
    first = table.attempt(QuantisationPlan(pictures=50), "as it comes")
    assert first.proof.verdict.missed  # by the gates as they are shipped
    result = repair(table, first)
    assert result.mended is not None
    assert result.mended.passed
    steps = result.steps()
    assert [s.chosen for s in steps].count(True) == 1
    assert steps[0].what == "as it comes"
    assert all(s.bytes > 0 and s.latency_ms > 0 for s in steps)
    chosen = next(s for s in steps if s.chosen)
    assert not chosen.missed
    assert 0 < len(result.mended.plan.keep) <= len(result.names) * MOST_KEPT
    assert "dense" in " ".join(chosen.kept) or "probabilities" in chosen.kept
    # One layer fewer does not do: the fewest were looked for.
    without = [a for a in result.attempts if 0 < len(a.plan.keep) < len(result.mended.plan.keep)]
    assert all(not a.passed for a in without)


def test_onnx_layers_are_kept_too(
    subject, ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The limit is a little below the error as it comes: some layer's share is larger."""
    table = bench(BY_NAME["onnx-int8"], subject, ingredients, tmp_path)
    plan = QuantisationPlan(pictures=0, method="entropy")
    error = table.attempt(plan, "as it comes").proof.parity.max_abs_error
    assert error is not None
    demand(monkeypatch, "int8", error * 0.9)
    monkeypatch.setattr(converters.repair, "PERCENTILES", ())
    result = repair(table, table.attempt(plan, "as it comes"))
    assert result.mended is not None
    assert result.mended.plan.keep
    assert result.mended.passed


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
def test_with_everything_kept_nothing_is_rounded(subject, ingredients, tmp_path: Path, name: str):
    """Else something in the chain rounds where repair cannot reach it."""
    table = bench(BY_NAME[name], subject, ingredients, tmp_path)
    keys = frozenset[str]().union(*(part.keys for part in table.regions()))
    kept = table.attempt(QuantisationPlan(keep=keys), "keep everything")
    assert kept.proof.parity.top1_agreement == 1.0
    assert kept.proof.parity.max_abs_error < 1e-5


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
def test_harm_is_what_a_part_does_alone(subject, ingredients, tmp_path: Path, name: str):
    """Together the parts do about what all of them do; in TFLite the skewed one does most of it.

    ONNX keeps a dense layer's result wide, so that the skew harms less there.
    """
    table = bench(BY_NAME[name], subject, ingredients, tmp_path)
    parts = table.regions()
    harm = table.harm(QuantisationPlan(), parts)
    if name == "tflite-int8":
        worst = max(range(len(parts)), key=harm.__getitem__)
        assert "dense" in parts[worst].layer
    together = table.attempt(QuantisationPlan(), "as it comes").rehearsal
    assert 0.3 * together < sum(harm) < 3 * together


def test_calibration_comes_before_layers(
    subject, ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    demand(monkeypatch, "int8", 0.0)
    table = bench(BY_NAME["tflite-int8"], subject, ingredients, tmp_path)
    first = table.attempt(QuantisationPlan(pictures=5), "as it comes")
    result = repair(table, first)
    assert result.mended is None  # nothing quantised answers with no error at all
    tried = [s.what for s in result.steps()]
    assert tried[1] == "calibrate on 100 pictures"
    assert [t for t in tried if "percentile" in t or "middle" in t]
    kinds = ["keep" in t for t in tried]
    assert any(kinds)
    assert kinds == sorted(kinds)  # once layers are kept, calibration is over
    plans = [a.plan for a in result.attempts]
    assert not any(plan in plans[:number] for number, plan in enumerate(plans))  # none twice
    counts = [len(s.kept) for s in result.steps()]
    assert max(counts) >= 2
    assert not any(s.chosen for s in result.steps())


def test_int16_layers_leave_integers(
    subject, ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from converters.tflite.graph import TfliteGraph

    demand(monkeypatch, "int8", 0.0)
    table = bench(BY_NAME["tflite-int8"], subject, ingredients, tmp_path)
    result = repair(table, table.attempt(QuantisationPlan(), "as it comes"), keep_as="int16")
    kept = [a for a in result.attempts if a.plan.keep]
    assert kept
    for attempt in kept:
        dtypes = set(TfliteGraph(attempt.graph).tensor_dtypes().values())
        assert "INT16" in dtypes
        assert not [d for d in dtypes if d.startswith("FLOAT")]


def test_a_mended_variant_is_shipped_with_its_story(skewed: Path, tmp_path: Path):
    options = ConvertOptions(variants=("tflite-float32", "tflite-int8"), samples=120)
    plain = convert(skewed, tmp_path / "missed.bundle", options)
    with pytest.raises(ParityError, match="To mend it: --repair"):
        plain.require()
    missed = plain.outcomes[1]
    assert missed.noise  # the layers to blame, unasked
    assert missed.noise[0].sqnr_db is not None

    mended = convert(skewed, tmp_path / "mended.bundle", replace(options, repair=True))
    mended.require()
    bundle = Bundle.open(tmp_path / "mended.bundle")
    variant = bundle.variant("tflite-int8")
    assert not variant.missed
    assert [s.chosen for s in variant.repair].count(True) == 1
    assert variant.noise  # of the file that missed: which layers it was
    assert variant.parity.top1_agreement > missed.proof.parity.top1_agreement
    assert verify(bundle).passed


def test_what_cannot_be_mended_is_said(
    trained: dict[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    demand(monkeypatch, "float16", -1.0)
    names = ("tflite-float32", "tflite-float16")
    options = ConvertOptions(variants=names, samples=30, repair=True)
    result = convert(trained[3], tmp_path / "a.bundle", options)
    with pytest.raises(ParityError, match="tflite-float16: max error") as error:
        result.require()
    assert "--repair" not in str(error.value)  # it was tried
    steps = result.outcomes[1].repair
    assert result.outcomes[1].repaired is None
    said = why_not_mended(steps)
    assert "Nothing mends it" in said
    assert any(step.what in said for step in steps)
    assert "Rounding is all" not in said  # a limit below 0 is missed without any rounding, too
    print_conversion(result)
    assert said[:60] in capsys.readouterr().out
    assert [v.name for v in Bundle.open(tmp_path / "a.bundle").variants] == ["tflite-float32"]
