"""The report as a page: whole, safe, short, and with the first things first."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_cases import (
    HOSTILE,
    NATURE,
    TEN,
    Outline,
    a_manifest,
    a_subject,
    an_outcome,
    noise_of,
    probabilities,
    realistic,
    squeezed,
)

from converters.outcome import CSource
from converters.report.flips import MAX_PICTURES, flips
from converters.report.page import render_report
from converters.report.verdict import judge, status
from converters.variants import RECIPES
from edge_runtime.page import TEMPLATES

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
