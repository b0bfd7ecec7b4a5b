"""Which way of calibrating is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.quantisation_plan import QuantisationPlan
from converters.rehearsal import METHODS, Rehearsal, make_best
from converters.run_folder import load_model, read_record
from converters.variants import RECIPES, Ingredients, Recipe
from edge_runtime.errors import EngineError

USUAL, OTHER = METHODS["int8"]


@dataclass(frozen=True, eq=False)
class Scripted(Rehearsal):
    """Errors by what is in the file: the method that it was made by."""

    by_method: dict[str, np.ndarray]

    def errors(self, recipe: Recipe, file: Path) -> np.ndarray:
        return self.by_method[file.read_text()]


def kept(folder: Path, **by_method: np.ndarray) -> str:
    recipe = Recipe("tflite", "int8", lambda _, plan: plan.method.encode())
    empty = np.empty(0)
    plan, graph = make_best(
        recipe,
        None,  # type: ignore[arg-type]
        QuantisationPlan(),
        Scripted(empty, empty, by_method),
        folder / "x.tflite",
    )
    assert graph.decode() == plan.method
    return plan.method


@pytest.mark.parametrize(
    ("gain", "spread", "best"),
    [
        pytest.param(0.01, 0.001, OTHER, id="better on every picture"),
        pytest.param(0.01, 0.5, USUAL, id="better by chance"),
        pytest.param(0.0, 0.0, USUAL, id="the same"),
        pytest.param(-0.01, 0.001, USUAL, id="worse"),
    ],
)
def test_the_usual_way_gives_way_only_beyond_chance(
    tmp_path: Path, gain: float, spread: float, best: str
):
    usual = np.full(64, 0.05)
    noise = np.resize([spread, -spread], 64)
    assert kept(tmp_path, **{USUAL: usual, OTHER: usual - gain + noise}) == best


def test_an_answer_that_is_no_number_is_off_by_one(trained, tmp_path: Path):
    file = tmp_path / "x.tflite"
    record = read_record(trained[2])
    model = load_model(trained[2] / record.model.path, record)
    shape = record.preprocess.input_shape
    rehearsal = Rehearsal(np.zeros((2, *shape), np.uint8), np.full((2, 2), np.nan, np.float32))
    made = Ingredients(
        model, record.head, "x", record.labels, record.preprocess, rehearsal.pictures
    )
    file.write_bytes(made.tflite)
    assert rehearsal.errors(RECIPES[0], file).tolist() == [1.0, 1.0]
    assert rehearsal.divergence(RECIPES[0], file) == float("inf")


def test_a_file_that_does_not_run_is_said_to(tmp_path: Path):
    class Broken(Rehearsal):
        def errors(self, recipe: Recipe, file: Path) -> np.ndarray:
            raise EngineError("no kernel for FOO")

    recipe = Recipe("tflite", "int8", lambda *_: b"")
    empty = np.empty(0)
    with pytest.raises(ConversionError, match="does not run: no kernel for FOO"):
        make_best(
            recipe,
            None,  # type: ignore[arg-type]
            QuantisationPlan(),
            Broken(empty, empty),
            tmp_path / "x.tflite",
        )
