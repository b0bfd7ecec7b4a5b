"""What the report's tables and plots are made of."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_cases import Outline, a_manifest, a_subject, an_outcome, probabilities, squeezed

from converters.report.answers import kind_of
from converters.report.confusion import MAX_PAIRS, confusions
from converters.report.figures import Point, pareto_front
from converters.report.flips import flips
from converters.report.labels import place_labels
from converters.report.matrix import level_of, matrix_tables
from converters.report.noise import noisy_variants
from converters.report.page import render_report
from converters.report.tables import figures_table, recall_table
from edge_runtime.evaluation.answers import NO_ANSWER, first_labels
from edge_runtime.manifest import (
    LayerNoise,
)


def test_all_figures_of_a_variant_are_in_the_table():
    subject, logits = a_subject(samples=200)
    rng = np.random.default_rng(2)
    made = an_outcome("tflite-int8", subject, probabilities(logits + rng.normal(size=logits.shape)))
    assert made.proof is not None
    parity = made.proof.parity
    table = figures_table([made], 0.9)
    cells = {row.name: row.cells[0] for _, rows in table.groups for row in rows}
    assert parity.accuracy is not None and parity.accuracy_drop is not None
    assert float(cells["Accuracy"].value.rstrip("\xa0%")) == round(100 * parity.accuracy, 1)
    drop = cells["Accuracy drop"]
    assert drop.value.replace("\N{MINUS SIGN}", "-") == f"{100 * parity.accuracy_drop:+.1f}"
    assert parity.accuracy_drop_low is not None and parity.accuracy_drop_high is not None
    ends = [float(v.replace("\N{MINUS SIGN}", "-")) / 100 for v in drop.note.split(" to ")]
    assert ends == pytest.approx([parity.accuracy_drop_low, parity.accuracy_drop_high], abs=6e-4)
    assert cells["Lost / won"].value == f"{parity.lost} / {parity.won}"
    assert "In the first five" in cells
    assert cells["Pictures"].value == "200"


def test_recall_of_many_classes_shows_those_that_changed_most():
    subject, logits = a_subject([f"c{n}" for n in range(40)], samples=400)
    turned = logits.copy()
    turned[subject.held_out.labels == 33] *= -1
    made = an_outcome("tflite-int8", subject, probabilities(turned))
    table = recall_table([made], subject.record.labels, subject.held_out.labels, subject.reference)
    assert table is not None
    (row,) = table.rows
    assert (row.label, row.pictures, table.left_out) == ("c33", 10, 39)
    assert (row.cells[0].shade, row.cells[0].level) == ("hot", 1.0)


def test_matrix_shows_every_cell_and_says_every_reason(case, page):
    manifest, _, _ = case
    matrix = matrix_tables(manifest)
    assert matrix is not None
    places = [p for table in matrix.tables for row in table.rows for p in row.places if p]
    assert len(places) == len(manifest.matrix)
    text = squeezed(Outline(page).text)
    failing = {cell.reason for cell in manifest.matrix if not cell.parity}
    assert len(failing) >= 2
    for reason in failing:
        assert reason in text
    assert {r.number for r in matrix.reasons} == {p.why for p in places if p.why}
    assert [p.mark for p in places].count("wrong") == 1  # opencv-dnn's int8 answers
    assert {p.cell.note for p in places if "of 6" in p.cell.note} == {"6 of 6 same"}
    # Only what differs between a column's versions is said in its cells.
    litert = [row.places[0] for row in matrix.tables[0].rows]
    assert matrix.tables[0].engines[0].version == "2.3.0"
    assert {p.kernels for p in litert if p} == {"XNNPACK", "built-in"}


def test_colour_of_an_error_is_logarithmic():
    levels = [level_of(error) for error in (0.0, 1e-9, 1e-6, 1e-3, 1.0, 3.0)]
    assert levels == sorted(levels)
    assert levels[0] == levels[1] == 0
    assert levels[-1] == levels[-2] == 1
    assert level_of(1e-3) - level_of(1e-4) == pytest.approx(level_of(1e-1) - level_of(1e-2))


def test_front_is_what_nothing_beats():
    def point(name: str, cost: float, worth: float) -> Point:
        return Point(name, cost, worth, worth, worth, "tflite", True)

    points = [point("a", 1, 90), point("b", 2, 90), point("c", 2, 95), point("d", 3, 94)]
    assert [p.name for p in pareto_front(points)] == ["a", "c"]


@pytest.mark.parametrize("spread", [0.0, 3.0, 30.0])
def test_labels_of_crowded_points_do_not_overlap(spread):
    rng = np.random.default_rng(5)
    anchors = [
        (150 + spread * float(x), 120 + spread * float(y)) for x, y in rng.normal(size=(8, 2))
    ]
    sizes = [(70.0, 9.0)] * 8
    centres = place_labels(sizes, anchors, [], (0.0, 0.0, 320.0, 240.0))
    for i, (x, y) in enumerate(centres):
        assert 35 <= x <= 285 and 4.5 <= y <= 235.5
        for a, b in centres[:i]:
            assert abs(x - a) >= 70 or abs(y - b) >= 9


def test_confusion_counts_every_picture_and_frames_what_changed():
    subject, logits = a_subject(("ants", "bees", "wasps"), samples=90)
    turned = logits.copy()
    row = int(np.flatnonzero(subject.reference.argmax(1) == subject.held_out.labels)[0])
    truth = int(subject.held_out.labels[row])
    turned[row] = np.eye(3)[(truth + 1) % 3] * 9
    changed = an_outcome("tflite-int8", subject, probabilities(turned))
    same = an_outcome("tflite-float32", subject, subject.reference)
    found = confusions(
        [same, changed], subject.record.labels, subject.held_out.labels, subject.reference
    )
    assert found.same == ("tflite-float32",)
    model, variant = found.squares
    for square in (model, variant):
        assert sum(int(c.value or 0) for cells in square.rows for c in cells) == 90
    assert variant.changes == 1
    assert variant.rows[truth][truth].frame == "worse"
    assert variant.rows[truth][(truth + 1) % 3].note == "+1"
    assert variant.rows[truth][(truth + 1) % 3].frame == "worse"


def test_confusion_of_many_classes_lists_pairs():
    subject, logits = a_subject([f"c{n}" for n in range(100)], samples=400)
    rng = np.random.default_rng(6)
    made = an_outcome("tflite-int8", subject, probabilities(logits + rng.normal(size=logits.shape)))
    found = confusions([made], subject.record.labels, subject.held_out.labels, subject.reference)
    assert not found.squares
    assert len(found.pairs) == MAX_PAIRS
    assert found.pairs_left_out > 0
    shades = [pair.cells[1].shade for pair in found.pairs]
    assert shades == sorted(shades, key=["hot", "cool", ""].index)
    assert shades[0] == "hot"


def test_each_changed_picture_is_there_once_with_every_answer():
    subject, logits = a_subject(samples=120)
    rng = np.random.default_rng(8)
    made = [
        an_outcome(
            name, subject, probabilities(logits + rng.normal(size=logits.shape)), shipped=True
        )
        for name in ("tflite-int8", "onnx-int8")
    ]
    before = subject.reference.argmax(1)
    changed = [
        set(np.flatnonzero(o.proof.probabilities.argmax(1) != before)) for o in made if o.proof
    ]
    both = changed[0] & changed[1]
    assert both and len(changed) == 2
    found = flips(made, subject)
    shown = [picture for group in found.groups for picture in group.pictures]
    assert found.pictures == len(shown) == len(changed[0] | changed[1])
    assert len({picture.file for picture in shown}) == len(shown)
    assert sum(len(picture.changes) for picture in shown) == len(changed[0]) + len(changed[1])
    page = render_report(a_manifest(made, subject), made, subject)
    assert page.count("data:image/jpeg") == len(shown)
    # Lost answers first, and each picture under what it is.
    assert found.groups[0].title.startswith("Right before")
    assert all(p.truth == p.label for p in found.groups[0].pictures)
    assert all(p.truth != p.label for group in found.groups[1:] for p in group.pictures)
    parity = made[0].proof.parity if made[0].proof else None
    assert parity is not None
    count = found.variants[0]
    assert (count.lost, count.won) == (parity.lost, parity.won)


def test_thumbnail_shows_the_colours_that_the_model_saw():
    subject, logits = a_subject(samples=20)
    subject.held_out.inputs[:] = (250, 10, 10)
    made = an_outcome("tflite-int8", subject, probabilities(-logits))
    uri = flips([made], subject).groups[0].pictures[0].uri
    data = base64.b64decode(uri.partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.mean(axis=(0, 1)) == pytest.approx([10, 10, 250], abs=4)  # blue, green, red


def test_name_of_a_picture_that_is_no_text_is_no_obstacle():
    subject, logits = a_subject(samples=20)
    files = tuple(Path("p") / f"\udcff{n}.jpg" for n in range(20))
    subject = replace(subject, held_out=replace(subject.held_out, files=files))
    made = an_outcome("tflite-int8", subject, probabilities(-logits))
    names = [p.file for group in flips([made], subject).groups for p in group.pictures]
    assert names
    assert all(name.encode() and name.startswith("p/?") for name in names)


def test_very_many_labels_need_little_memory():
    """A table of all pairs would have 2.5 thousand million counts."""
    labels = tuple(str(n) for n in range(50_000))
    truths = np.array([1, 2, 3])
    reference = np.zeros((3, 50_000), np.float32)
    reference[[0, 1, 2], [1, 2, 3]] = 1
    answers = np.roll(reference, 1, axis=1)
    found = confusions([], labels, truths, reference)
    assert not found.pairs
    subject, _ = a_subject(samples=20)
    made = an_outcome("tflite-int8", subject, subject.reference)
    assert made.proof is not None
    made = replace(made, proof=replace(made.proof, probabilities=answers))
    found = confusions([made], labels, truths, reference)
    assert [(p.truth, p.answer) for p in found.pairs] == [("1", "2"), ("2", "3"), ("3", "4")]


def test_answers_that_are_not_numbers_change_every_picture():
    subject, _ = a_subject(samples=30)
    broken = subject.reference.copy()
    broken[3] = np.nan
    assert list(np.flatnonzero(first_labels(broken) == NO_ANSWER)) == [3]
    made = an_outcome("tflite-float16", subject, broken, shipped=True)
    page = render_report(a_manifest([made], subject), [made], subject)
    text = squeezed(Outline(page).text)
    assert "not a number" in text and "not finite" in text
    assert [count.changed for count in flips([made], subject).variants] == [1]


@pytest.mark.parametrize(
    "truth, before, after, kind",
    [(1, 1, 2, "lost"), (1, 2, 1, "won"), (1, 2, 3, "other"), (1, 1, NO_ANSWER, "lost")],
)
def test_kinds_of_change(truth, before, after, kind):
    assert kind_of(truth, before, after) == kind


def test_noise_is_on_one_scale_the_worst_first():
    subject, _ = a_subject(samples=20)
    outcome = an_outcome("tflite-int8", subject, subject.reference)
    layers = (
        LayerNoise(layer="a", operator="CONV_2D", sqnr_db=-3.0, own_db=1.0),
        LayerNoise(layer="b", operator="CONV_2D", sqnr_db=30.0, own_db=200.0),
        LayerNoise(layer="c", operator="RESHAPE", sqnr_db=None, own_db=None),
    )
    (variant,) = noisy_variants([replace(outcome, noise=layers)])
    a, b, c = variant.first
    assert variant.worst is a
    assert a.at is not None and b.at is not None
    assert 0 <= a.at < b.at <= 100 and b.own_at == 100.0
    assert c.at is None and c.db == "no noise"
    assert [at for _, at in variant.ticks] == sorted(at for _, at in variant.ticks)
