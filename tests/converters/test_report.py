"""The page is made of values as a conversion makes them, without a model: any case is quick."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.export_head import EXPORTED
from converters.gates import gates
from converters.outcome import CSource, Outcome
from converters.prove import Proof
from converters.report.answers import kind_of
from converters.report.confusion import MAX_PAIRS, confusions
from converters.report.figures import Point, pareto_front
from converters.report.flips import MAX_PICTURES, flips
from converters.report.labels import place_labels
from converters.report.matrix import level_of, matrix_tables
from converters.report.noise import noisy_variants
from converters.report.page import render_report
from converters.report.tables import figures_table, recall_table
from converters.report.verdict import judge, status
from converters.run_folder import Photographs, TrainingRecord
from converters.subject import Subject
from converters.variants import RECIPES
from edge_runtime.evaluation.answers import NO_ANSWER, first_labels
from edge_runtime.manifest import (
    FileEntry,
    GoldenEntry,
    LayerNoise,
    Manifest,
    MatrixCell,
    RepairStep,
    Variant,
)
from edge_runtime.page import TEMPLATES
from edge_runtime.parity import compare

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOSTILE = ('<script>alert("a")</script>', 'a & b\' onerror="x"', "{{ 7 * 7 }}", "\u202etxt.exe")
# How far each variant's logits are from the model's, and its file's size and time.
NATURE = {
    "tflite-float32": (1e-6, 2_300_000, 3.1),
    "tflite-float16": (2e-3, 1_180_000, 3.0),
    "tflite-dynamic": (0.12, 690_000, 1.9),
    "tflite-int8": (0.6, 680_000, 1.2),
    "tflite-int16x8": (0.06, 720_000, 9.5),
    "onnx-float32": (1e-6, 2_250_000, 2.4),
    "onnx-float16": (2e-3, 1_150_000, 2.9),
    "onnx-int8": (1.6, 700_000, 2.2),
}


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def painted(labels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures of coloured blots on soft noise: about as large as JPEG as photographs are."""
    pictures = np.empty((len(labels), side, side, 3), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        coarse = rng.integers(40, 220, (8, 8, 3), dtype=np.uint8)
        rows = np.arange(side) * 8 // side
        picture[:] = coarse[rows][:, rows]
        picture[:] = cv2.GaussianBlur(picture, (0, 0), side / 20)
        picture += rng.integers(0, 24, picture.shape, dtype=np.uint8)
        hue = np.array([[[int(label) * 37 % 180, 220, 230]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
        x, y = (int(v) for v in rng.integers(side // 4, 3 * side // 4, 2))
        cv2.circle(picture, (x, y), side // 6, colour.tolist(), -1)
    return pictures


def a_subject(
    labels: Sequence[str] = TEN, samples: int = 200, side: int = 48, seed: int = 1
) -> tuple[Subject, np.ndarray]:
    """A subject and its model's logits: right about nine times in ten."""
    rng = np.random.default_rng(seed)
    truths = rng.permutation(np.arange(samples) % len(labels))
    logits = rng.normal(0, 1, (samples, len(labels)))
    logits[np.arange(samples), truths] += rng.normal(5.0, 2.2, samples)
    files = tuple(
        Path("photographs") / f"class {label}" / f"{n:04}.jpg" for n, label in enumerate(truths)
    )
    record = TrainingRecord.model_validate(
        {
            "schema_version": 1,
            "architecture": "mobilenet_v2",
            "labels": list(labels),
            "preprocess": {"width": side, "height": side},
            "head": {"kind": "softmax"},
            "model": {"path": "model.keras", "sha256": "a" * 64},
            "data": {"root": "photographs", "train": [], "val": [], "test": [], "held_out": "test"},
            "created": "2026-01-02T03:04:05+00:00",
        }
    )
    pictures = Photographs(files, painted(truths, side, rng), truths)
    calibration = Photographs((), np.empty((200, 1, 1, 3), np.uint8), np.zeros(200, np.int64))
    return Subject(Path("run"), record, None, pictures, calibration, probabilities(logits)), logits


def an_outcome(
    name: str, subject: Subject, answers: np.ndarray, *, shipped: bool | None = None
) -> Outcome:
    """A variant that answers so, judged as a conversion judges it."""
    recipe = next(r for r in RECIPES if r.name == name)
    parity = compare(subject.reference, answers, subject.held_out.labels)
    verdict = gates()[recipe.precision].judge(parity)
    _, size, latency = NATURE[name]
    engine = "litert 2.3.0" if recipe.format == "tflite" else "onnxruntime 1.32.0"
    return Outcome(
        recipe=recipe,
        proof=Proof(parity, verdict, answers, answers, engine, latency),
        file=Path("models") / f"{recipe.precision}.{recipe.format}",
        bytes=size,
        problems=verdict.missed,
        shipped=not verdict.missed if shipped is None else shipped,
    )


def outcomes_of(subject: Subject, logits: np.ndarray, scale: float = 1.0) -> list[Outcome]:
    """All eight variants."""
    rng = np.random.default_rng(7)
    return [
        an_outcome(
            n, subject, probabilities(logits + scale * noise * rng.normal(size=logits.shape))
        )
        for n, (noise, _, _) in NATURE.items()
    ]


def noise_of(layers: int, seed: int = 3) -> tuple[LayerNoise, ...]:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.normal(28, 9, layers))
    return (
        *(
            LayerNoise(
                layer=f"mobilenetv2_0.35_224/block_{n}_depthwise_relu",
                operator="DEPTHWISE_CONV_2D" if n % 2 else "CONV_2D",
                sqnr_db=float(level),
                own_db=float(level + abs(rng.normal(4, 3))),
            )
            for n, level in enumerate(levels)
        ),
        LayerNoise(layer="reshape", operator="RESHAPE", sqnr_db=None, own_db=None),
    )


def repair_steps(subject: Subject, logits: np.ndarray) -> tuple[RepairStep, ...]:
    rng = np.random.default_rng(11)
    tries = [
        ("as it comes", 1.6, (), 700_000, 2.2),
        ("calibrate on 1000 pictures", 1.5, (), 700_000, 2.2),
        ("calibrate by the middle 99.99 % of values", 1.1, (), 700_000, 2.25),
        ("calibrate by least entropy", 1.3, (), 700_000, 2.21),
        ("keep 1 layers in float32 (noisiest)", 0.9, ("block_1",), 731_000, 2.3),
        ("keep 2 layers in float32 (first)", 0.2, ("Conv1", "block_1"), 742_000, 2.6),
        ("keep 1 layers in float32 (fewer of them)", 0.1, ("Conv1",), 720_000, 2.5),
    ]
    steps = []
    for what, noise, kept, size, latency in tries:
        answers = probabilities(logits + noise * rng.normal(size=logits.shape))
        parity = compare(subject.reference, answers, subject.held_out.labels)
        steps.append(
            RepairStep(
                what=what,
                kept=kept,
                parity=parity,
                missed=gates()["int8"].judge(parity).missed,
                bytes=size,
                latency_ms=latency,
            )
        )
    best = max(range(len(steps)), key=lambda n: steps[n].parity.top1_agreement)
    steps[best] = steps[best].model_copy(update={"chosen": True})
    return tuple(steps)


def matrix_of(outcomes: Sequence[Outcome], subject: Subject) -> tuple[MatrixCell, ...]:
    """As where one engine is not installed, one fails, one is slow and one answers wrongly."""
    engines = {
        "tflite": ["litert", "tflite-runtime", "litert-builtin", "litert-reference"],
        "onnx": ["onnxruntime", "onnx-reference", "opencv-dnn"],
    }
    cells = []
    for outcome in (o for o in outcomes if o.shipped and o.proof):
        assert outcome.proof is not None
        for engine in engines[outcome.recipe.format]:
            cell: dict[str, Any] = {"variant": outcome.name, "engine": engine}
            answers, count = outcome.proof.probabilities[:32], 32
            if engine == "tflite-runtime":
                cell["reason"] = "not installed (pip install 'edgeproof[legacy]')"
            elif engine == "opencv-dnn" and outcome.recipe.precision == "float16":
                cell["reason"] = "<error> (-215:Assertion failed) type == CV_32F in 'forward'"
            else:
                if engine == "onnx-reference":
                    count = 6
                elif engine == "opencv-dnn" and outcome.recipe.precision == "int8":
                    answers = answers[:, ::-1]
                parity = compare(subject.reference[:count], answers[:count])
                cell |= {"parity": parity, "version": "2.3.0", "latency_ms": 1.5}
                if engine == "litert":
                    cell["version"] += " built-in" if "16x8" in outcome.name else " XNNPACK"
            cells.append(MatrixCell(**cell))
    return tuple(cells)


def a_manifest(
    outcomes: Sequence[Outcome], subject: Subject, *, name: str = "pets", matrix: bool = True
) -> Manifest:
    def entry(path: str, size: int = 1000) -> FileEntry:
        return FileEntry(path=path, bytes=size, sha256=hashlib.sha256(path.encode()).hexdigest())

    variants = tuple(
        Variant(
            format=o.recipe.format,
            precision=o.recipe.precision,
            file=entry(f"models/{o.recipe.precision}.{o.recipe.format}", o.bytes),
            parity=o.proof.parity,
            missed=o.problems,
            unsure=o.unsure,
            tolerance=gates()[o.recipe.precision].tolerance,
            latency_ms=o.proof.latency_ms,
            engine=o.proof.engine,
            scheme="s8s8" if o.name == "onnx-int8" else None,
            noise=o.noise,
            repair=o.repair,
        )
        for o in outcomes
        if o.shipped and o.proof
    )
    return Manifest(
        schema_version=2,
        name=name,
        task="classification",
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        head=EXPORTED,
        variants=variants,
        golden=GoldenEntry(
            frames=(entry("golden/frames/000.jpg"), entry("golden/frames/001.jpg")),
            tensors=entry("golden/tensors.npz"),
        ),
        matrix=matrix_of(outcomes, subject) if matrix else (),
        sources=(entry("c/model_data.cc"), entry("c/model_data.h")),
        provenance={
            "created": "2026-01-02T03:04:05+00:00",
            "command": f"edgeproof convert runs/{name} --out {name}.bundle --explain --repair",
            "versions": {"edgeproof": "0.2.0", "tensorflow": "2.21.0"},
            "machine": {
                "architecture": "x86_64",
                "cpu": "A CPU",
                "os": "Linux",
                "python": "3.11.9",
            },
            "training": {
                "run": "pets",
                "architecture": "mobilenet_v2",
                "created": "2026-01-02T03:04:05+00:00",
                "model_sha256": "b" * 64,
            },
            "pictures": {"held_out": 200, "held_out_set": "test", "calibration": 200},
        },
    )


def realistic(
    labels: Sequence[str] = TEN, samples: int = 200, side: int = 48
) -> tuple[Manifest, list[Outcome], Subject]:
    """Eight variants: some cannot tell, int8 TFLite misses, int8 ONNX was mended."""
    subject, logits = a_subject(labels, samples, side)
    outcomes = outcomes_of(subject, logits)
    for index, outcome in enumerate(outcomes):
        if outcome.name == "tflite-int8":
            outcomes[index] = replace(outcome, noise=noise_of(30))
        if outcome.name == "onnx-int8":
            steps = repair_steps(subject, logits)
            rng = np.random.default_rng(12)
            mended = probabilities(logits + 0.01 * rng.normal(size=logits.shape))
            made = an_outcome("onnx-int8", subject, mended)
            outcomes[index] = replace(made, repair=steps, noise=noise_of(20, seed=4), bytes=720_000)
    return a_manifest(outcomes, subject), outcomes, subject


@pytest.fixture(scope="module")
def case() -> tuple[Manifest, list[Outcome], Subject]:
    return realistic()


@pytest.fixture(scope="module")
def page(case: tuple[Manifest, list[Outcome], Subject]) -> str:
    return render_report(*case)


class Outline(HTMLParser):
    """What a page is made of; fails on tags that do not close."""

    VOID = frozenset({"meta", "img", "br", "input", "source", "link", "hr", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def squeezed(text: str) -> str:
    return " ".join(text.split())


CASES: dict[str, tuple[tuple[str, ...], int]] = {
    "ten": (TEN, 120),
    "two": (("ants", "bees"), 60),
    "hundred": (tuple(f"class number {n}" for n in range(100)), 200),
    "hostile": ((*HOSTILE, "Donaudampfschifffahrtsgesellschaft" * 3, "数字", "جمل"), 70),
}


@pytest.fixture(scope="module", params=CASES)
def any_page(request: pytest.FixtureRequest) -> tuple[tuple[str, ...], str]:
    """Labels and page."""
    labels, samples = CASES[request.param]
    return labels, render_report(*realistic(labels, samples, side=24))


def test_page_is_whole_and_can_be_read_by_anyone(any_page):
    labels, page = any_page
    outline = Outline(page)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in outline.of("a"):
        assert (link["href"] or "")[1:] in ids
    for label in outline.of("label"):
        assert label["for"] in ids
    assert all(th.get("scope") for th in outline.of("th"))
    assert all(image.get("alt") for image in outline.of("img"))
    scrolling = [a for _, a in outline.tags if a.get("class") == "scroll"]
    assert scrolling and all(a.get("tabindex") == "0" for a in scrolling)
    for label in labels:
        assert squeezed(label) in squeezed(outline.text)


def test_nothing_in_it_runs_or_is_fetched(any_page):
    _, page = any_page
    outline = Outline(page)
    assert not outline.of("script")
    for _, attrs in outline.tags:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "srcset"):
            if name in attrs:
                assert (attrs[name] or "").startswith("data:image/")
    assert "http:" not in page and "https:" not in page and "url(" not in page
    assert "@import" not in page


def test_same_values_give_the_same_page(case, page):
    assert render_report(*case) == page


def test_five_hundred_changing_photographs_stay_below_three_megabytes():
    """Every answer of every variant differs, and the pictures do not compress well."""
    subject, logits = a_subject(samples=500, side=224)
    rng = np.random.default_rng(0)
    made = [
        an_outcome(name, subject, probabilities(rng.normal(size=logits.shape)), shipped=True)
        for name in NATURE
    ]
    made = [replace(o, noise=noise_of(80)) for o in made]
    page = render_report(a_manifest(made, subject), made, subject)
    assert len(page.encode()) < 3_000_000
    assert page.count("data:image/jpeg") <= MAX_PICTURES
    found = flips(made, subject)
    assert found.left_out > 0
    assert f"{found.left_out} of them are left out" in page
    # No variant took all the room.
    assert all(count.changed - count.left_out > 50 for count in found.variants)


def test_first_lines_say_what_passed_and_what_to_ship(case, page):
    _, outcomes, _ = case
    verdict = judge(outcomes, 200, "test")
    states = {o.name: status(o) for o in outcomes}
    assert states["tflite-int8"] == "missed"
    assert states["onnx-int8"] != "missed"
    assert verdict.counts["missed"] == sum(state == "missed" for state in states.values())
    passed = [o for o in outcomes if status(o) == "passed"]
    assert verdict.smallest is min(passed, key=lambda o: o.bytes)
    assert verdict.headline.startswith(f"{len(passed)} of 8 files")
    assert "tflite-int8" in verdict.headline
    text = squeezed(Outline(page).text)
    assert verdict.headline in text
    assert verdict.smallest.name in verdict.advice


def test_what_is_unsure_is_advised_only_where_nothing_is_sure():
    subject, logits = a_subject(samples=40)
    exact = an_outcome("tflite-float32", subject, subject.reference)
    close = an_outcome("tflite-int8", subject, probabilities(logits + 1e-4))
    assert status(exact) == "passed"
    assert status(close) == "cannot tell"
    both = judge([exact, close], 40, "test")
    assert both.smallest is exact
    assert "tflite-int8 is smaller yet" in both.advice
    alone = judge([close], 40, "test")
    assert (alone.smallest, alone.sure, alone.kind) == (close, False, "warn")


def test_a_model_that_knows_one_answer_is_warned_of_before_the_figures():
    subject, _ = a_subject(samples=40)
    always = np.tile(np.eye(10, dtype=np.float32)[6], (40, 1))
    subject = replace(subject, reference=always)
    only = an_outcome("onnx-float32", subject, always)
    page = render_report(a_manifest([only], subject, matrix=False), [only], subject)
    text = Outline(page).text
    assert text.index("The trained model answers 'frog' for all 40") < text.index("Passed")


def test_accepted_and_impossible_variants_are_said_to_be_so():
    subject, logits = a_subject(samples=60)
    wrong = an_outcome("tflite-int8", subject, probabilities(-logits), shipped=True)
    failed = replace(wrong, proof=None, shipped=False, problems=("<b>no</b> way.",), file=None)
    failed = replace(failed, recipe=next(r for r in RECIPES if r.name == "onnx-int8"))
    page = render_report(a_manifest([wrong], subject), [wrong, failed], subject)
    text = squeezed(Outline(page).text)
    assert "Shipped although it misses its gate: top-1 agreement" in text
    assert "Could not be made: <b>no</b> way." in text
    assert "0 of 2 files answer as the trained model does" in text
    assert judge([wrong, failed], 60, "test").kind == "fail"
    assert "To ship:" not in text


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


def test_repair_tells_every_attempt_and_by_what_it_was_judged(case, page):
    _, outcomes, _ = case
    text = squeezed(Outline(page).text)
    steps = next(o.repair for o in outcomes if o.repair)
    for step in steps:
        assert squeezed(step.what) in text
        for layer in step.kept:
            assert layer in text
    assert "on the same 200 held-out pictures" in text
    assert f"{len(steps)} attempts are judged by one set of pictures" in text


def test_hashes_and_commands_are_there_to_copy(case, page):
    manifest, _, _ = case
    text = Outline(page).text
    for entry in manifest.files:
        assert f"{entry.sha256}  {entry.path}\n" in text + "\n"
    assert "edgeproof verify pets.bundle --matrix" in text
    assert manifest.provenance["command"] in text
    assert "s8s8" in text and "c/model_data.cc" in text


def test_a_bundle_of_one_perfect_file_has_a_short_report():
    subject, _ = a_subject(samples=30)
    only = an_outcome("onnx-float32", subject, subject.reference)
    page = render_report(a_manifest([only], subject, matrix=False), [only], subject)
    outline = Outline(page)
    assert "The file answers as the trained model does, on 30 test pictures." in outline.text
    assert "None, in no file." in outline.text
    ids = {attrs.get("id") for _, attrs in outline.tags}
    assert not ids & {"matrix", "noise", "repair"}


def brightness(colour: np.ndarray) -> float:
    """Relative luminance, as WCAG 2 defines it, of red, green and blue from 0 to 255."""
    part = colour / 255
    linear = np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("shade", ["hot", "cool", "share"])
def test_text_on_the_fullest_colour_can_be_read(theme, shade):
    """4.5 to 1 is what WCAG 2 asks of text, in both themes."""
    style = (TEMPLATES / "page.html.j2").read_text(encoding="utf-8")
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]

    def value(name: str) -> str:
        found = re.search(rf"--{name}: ([^;]+);", root)
        assert found
        return found[1]

    def hexadecimal(name: str) -> np.ndarray:
        return np.array(list(bytes.fromhex(value(name)[1:])), float)

    card, most = hexadecimal("card"), float(value(f"{shade}-most"))
    colour = np.array(value(shade).split(), float)
    lights = [brightness(hexadecimal("ink")), brightness(card * (1 - most) + colour * most)]
    assert (max(lights) + 0.05) / (min(lights) + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param(CSource((Path("c/model.h"),)), ">made<", id="made"),
        pytest.param(CSource((), "GELU at layer act has no kernel."), "has no kernel", id="not"),
    ],
)
def test_the_c_source_has_its_line(source: CSource, said: str):
    manifest, made, subject = realistic(samples=40, side=8)
    page = render_report(manifest, made, subject, source)
    assert "as C++ source" in page and said in page
    assert "as C++ source" not in render_report(manifest, made, subject)
