"""Repair: what is tried, in which order, and that it says so when nothing helps."""

from dataclasses import replace
from pathlib import Path

import pytest

import converters.prove
from converters import ConvertOptions, ParityError, convert
from converters.gates import Gate, gates
from converters.quantisation_plan import QuantisationPlan
from converters.repair import MOST_KEPT, Workbench, repair
from converters.subject import Subject, prepare
from converters.variants import RECIPES, Ingredients, Recipe
from edge_runtime.bundle import Bundle
from edge_runtime.verification import verify

BY_NAME = {recipe.name: recipe for recipe in RECIPES}


@pytest.fixture(scope="module")
def subject(trained: dict[int, Path]) -> Subject:
    return prepare(trained[3], data=None, samples=120, calibration=100, seed=0)


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


@pytest.mark.parametrize("name", ["tflite-int8", "tflite-dynamic", "onnx-int8"])
def test_layers_are_kept_until_the_gate_holds(
    subject, ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    """The limit lies between what the file misses as it comes and what it can reach."""
    table = bench(BY_NAME[name], subject, ingredients, tmp_path)
    plan = QuantisationPlan(pictures=50)
    error = table.attempt(plan, "as it comes").proof.parity.max_abs_error
    assert error is not None
    demand(monkeypatch, BY_NAME[name].precision, error * 0.8)
    first = table.attempt(plan, "as it comes")
    assert not first.passed
    result = repair(table, first)
    assert result.mended is not None
    assert result.mended.passed
    mended = result.mended.proof.parity.max_abs_error
    assert mended is not None
    assert mended <= error * 0.8
    steps = result.steps()
    assert [s.chosen for s in steps].count(True) == 1
    assert steps[0].what == "as it comes"
    assert all(s.bytes > 0 and s.latency_ms > 0 for s in steps)
    chosen = next(s for s in steps if s.chosen)
    assert len(result.mended.plan.keep) <= len(result.names) * MOST_KEPT
    assert not chosen.missed
    assert set(chosen.kept) <= set(result.names.values())


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
    counts = [len(s.kept) for s in result.steps()]
    assert max(counts) >= 2
    assert not any(s.chosen for s in result.steps())


def test_int16_layers_leave_integers(
    subject, ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from converters.flatbuffer import TfliteGraph

    demand(monkeypatch, "int8", 0.0)
    table = bench(BY_NAME["tflite-int8"], subject, ingredients, tmp_path)
    result = repair(table, table.attempt(QuantisationPlan(), "as it comes"), keep_as="int16")
    kept = [a for a in result.attempts if a.plan.keep]
    assert kept
    for attempt in kept:
        dtypes = set(TfliteGraph(attempt.graph).tensor_dtypes().values())
        assert "INT16" in dtypes
        assert not [d for d in dtypes if d.startswith("FLOAT")]


def test_a_mended_variant_is_shipped_with_its_story(
    trained: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = ConvertOptions(variants=("tflite-int8",), samples=120, calibration=50, explain=True)
    plain = convert(trained[3], tmp_path / "plain.bundle", options)
    variant = Bundle.open(tmp_path / "plain.bundle").variant("tflite-int8")
    assert variant.noise
    assert variant.noise[0].sqnr_db is not None
    assert not variant.repair
    error = plain.outcomes[0].proof.parity.max_abs_error
    demand(monkeypatch, "int8", error * 0.8)

    with pytest.raises(ParityError, match="To mend it: --repair"):
        convert(trained[3], tmp_path / "missed.bundle", options).require()
    mended = convert(trained[3], tmp_path / "mended.bundle", replace(options, repair=True))
    mended.require()
    bundle = Bundle.open(tmp_path / "mended.bundle")
    variant = bundle.variant("tflite-int8")
    assert not variant.missed
    assert [s.chosen for s in variant.repair].count(True) == 1
    assert variant.parity.max_abs_error <= error * 0.8
    assert verify(bundle).passed


def test_what_cannot_be_mended_is_said(
    trained: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    demand(monkeypatch, "float16", -1.0)
    names = ("tflite-float32", "tflite-float16")
    options = ConvertOptions(variants=names, samples=30, repair=True)
    result = convert(trained[3], tmp_path / "a.bundle", options)
    with pytest.raises(ParityError, match="tflite-float16: max error") as error:
        result.require()
    assert "--repair" not in str(error.value)  # it was tried
    assert result.outcomes[1].repair
    assert result.outcomes[1].repaired is None
    assert [v.name for v in Bundle.open(tmp_path / "a.bundle").variants] == ["tflite-float32"]
