"""`edgeproof evaluate` on a bundle: labelled pictures in, summary, record and report out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import edgeproof
from edge_runtime.evaluation.pictures import LabelledDataError, labelled_folder

LABELS = ("red", "green", "blue")


@pytest.fixture
def labelled(tmp_path: Path, picture: Callable[..., np.ndarray]) -> Path:
    """Eight pictures of each colour, two greens in the folder of red, one file that is none."""
    root = tmp_path / "labelled"
    for index, name in enumerate(LABELS):
        (root / name).mkdir(parents=True)
        for number in range(8):
            shown = 1 if index == 0 and number < 2 else index
            cv2.imwrite(str(root / name / f"{number}.png"), picture(shown, seed=number))
    (root / "blue" / "broken.jpg").write_bytes(b"no picture")
    return root


def evaluate(*arguments: object) -> str:
    done = CliRunner().invoke(edgeproof.app, ["evaluate", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout if "--json" in arguments else done.output


def test_the_summary_names_figures_confusion_and_what_was_skipped(
    colour_bundle: Path, labelled: Path
):
    said = evaluate(colour_bundle, labelled)
    assert "accuracy:           91.7% of 24 pictures (95 % interval" in said
    assert "red taken for green: 2" in said
    assert "broken.jpg: not a" in said
    assert "has seen these pictures" in said


def test_the_record_names_every_picture(colour_bundle: Path, labelled: Path):
    record = json.loads(evaluate(colour_bundle, labelled, "--json"))
    assert record["scores"]["accuracy"]["value"] == pytest.approx(22 / 24)
    assert record["scores"]["per_class"][0]["recall"]["value"] == 0.75
    wrong = [p for p in record["pictures"] if p["label"] != p["answer"]]
    assert sorted(Path(p["path"]).name for p in wrong) == ["0.png", "1.png"]
    assert record["model"]["variant"] == "tflite-float32"
    assert len(record["data"]["skipped"]) == 1


def test_the_report_leads_from_each_cell_to_its_pictures(
    colour_bundle: Path, labelled: Path, tmp_path: Path
):
    out = tmp_path / "out"
    assert f"wrote {out / 'evaluation.html'}" in evaluate(colour_bundle, labelled, "--out", out)
    page = (out / "evaluation.html").read_text()
    cell = re.search(r'<details id="cell-0-1".*?</details>', page, re.DOTALL)
    assert cell
    assert '<a href="#cell-0-1">2</a>' in page
    assert cell[0].count("<img") == 2
    assert "red/0.png" in cell[0]
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert json.loads((out / "evaluation.json").read_text())["schema_version"] == 1
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_parts_are_found_and_test_comes_first(tmp_path: Path, picture: Callable[..., np.ndarray]):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for index, name in enumerate(LABELS):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(tmp_path / part / name / f"{number}.png"), picture(index))
    assert len(labelled_folder(tmp_path, LABELS).files) == 3
    chosen = labelled_folder(tmp_path, LABELS, split="val")
    assert (chosen.split, len(chosen.files), chosen.truths.tolist()) == (
        "val",
        6,
        [2, 2, 1, 1, 0, 0],
    )
    assert labelled_folder(tmp_path, LABELS, split="train").held_out is False
    (tmp_path / "test").rename(tmp_path / "x")
    (tmp_path / "val").rename(tmp_path / "y")
    with pytest.raises(LabelledDataError, match="only train/"):
        labelled_folder(tmp_path, LABELS)


def test_accents_may_be_encoded_either_way(tmp_path: Path, picture: Callable[..., np.ndarray]):
    (tmp_path / "café").mkdir()
    cv2.imwrite(str(tmp_path / "café" / "0.png"), picture(0))
    assert labelled_folder(tmp_path, ("café", "tea")).truths.tolist() == [0]


def test_a_list_and_a_set_by_name_are_data_too(colour_bundle: Path, labelled: Path):
    rows = [f"blue/{n}.png,blue" for n in range(3)] + ["green/0.png,green", "red/0.png,red"]
    listed = labelled / "some.csv"
    listed.write_text("path,label\n" + "\n".join(rows))
    record = json.loads(evaluate(colour_bundle, listed, "--json"))
    right = [p["label"] == p["answer"] for p in record["pictures"]]
    assert (len(right), sum(right)) == (5, 4)
    from trainer.errors import DataError

    with pytest.raises(DataError, match="digits: the model knows no class '0'"):
        evaluate(colour_bundle, "digits")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["{bundle}"], "holds no labelled pictures", id="no-data"),
        pytest.param(["{bundle}", "{data}/nowhere"], "no such folder", id="missing"),
        pytest.param(["{bundle}", "{data}/red"], "holds no pictures in folders", id="no-classes"),
        pytest.param(["{bundle}", "{data}", "--split", "tset"], "takes test, val", id="split"),
        pytest.param(["{bundle}", "{data}", "--split", "val"], "has no val/", id="no-split"),
        pytest.param(["{bundle}", "{data}", "--variant", "x"], "no variant 'x'", id="variant"),
        pytest.param(["{bundle}", "{data}", "--out", "{data}/o"], "taken for a class", id="out"),
        pytest.param(
            ["{bundle}", "{data}", "--out", "{bundle}/o"], "in the bundle", id="in-bundle"
        ),
        pytest.param(["{data}", "{data}"], "not a bundle", id="no-bundle"),
    ],
)
def test_bad_input_is_one_clear_line(
    colour_bundle: Path, labelled: Path, arguments: list[str], said: str
):
    from edge_runtime.errors import EdgeproofError

    places = {"bundle": colour_bundle, "data": labelled}
    with pytest.raises(EdgeproofError, match=re.escape(said)) as caught:
        evaluate(*(argument.format(**places) for argument in arguments))
    assert "\n" not in str(caught.value)


def test_a_class_that_the_model_does_not_know_is_named(colour_bundle: Path, labelled: Path):
    (labelled / "grene").mkdir()
    with pytest.raises(LabelledDataError, match=r"no class 'grene'\. Did you mean 'green'"):
        evaluate(colour_bundle, labelled)


def test_without_the_workstations_packages_the_record_is_written(
    colour_bundle: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    said = evaluate(colour_bundle, labelled, "--out", tmp_path / "out")
    assert "it needs jinja2" in said
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["evaluation.json"]


def test_several_variants_each_have_their_files(
    colour_bundle: Path, labelled: Path, tmp_path: Path
):
    evaluate(colour_bundle, labelled, "--variant", "all", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "evaluation.html").is_file()
