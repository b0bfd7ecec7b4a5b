"""The golden set shows every class, where it is easy and hard, and where variants differ."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from converters.gates import Verdict
from converters.golden_set import (
    GOLDEN_FRAMES,
    MAX_INPUT_BYTES,
    choose_golden,
    golden_count,
    record_golden,
)
from converters.prove import Proof
from converters.run_folder import Photographs
from edge_runtime.images import decode_image
from edge_runtime.matrix import Matrix
from edge_runtime.parity import compare
from edge_runtime.preprocess import Preprocess


@st.composite
def selections(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], int]:
    """Labels, the trained model's probabilities, two variants' and a count."""
    samples, classes = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    labels = draw(npst.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    shape = (samples, classes)
    arrays = npst.arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
    variants = {"a": draw(arrays), "b": draw(arrays | st.just(np.full(shape, np.nan, np.float32)))}
    return labels, draw(arrays), variants, draw(st.integers(1, 40))


@settings(deadline=None)
@given(selections())
def test_what_is_chosen(selection):
    labels, reference, variants, count = selection
    chosen = choose_golden(labels, reference, variants, count)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    assert ((chosen >= 0) & (chosen < len(labels))).all()
    again = choose_golden(labels.copy(), reference.copy(), dict(variants), count)
    assert chosen.tolist() == again.tolist()
    classes = np.unique(labels)
    if len(classes) <= count:
        assert set(labels[chosen]) == set(classes)
        # The first few show all of them: an engine that is slow answers only those.
        assert set(labels[chosen[: len(classes)]]) == set(classes)
    two = np.sort(reference, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    if 2 * len(classes) + count // 4 <= count:
        for label in classes:
            of_class = labels == label
            picked = margin[chosen[labels[chosen] == label]]
            assert picked.min() == margin[of_class].min()
            assert picked.max() == margin[of_class].max()


@settings(deadline=None)
@given(selections())
def test_the_picture_that_a_variant_flips_farthest_is_chosen(selection):
    labels, reference, variants, count = selection
    answers = variants["a"]
    if len(np.unique(labels)) + 1 > count or count < 4:
        return
    flips = np.flatnonzero(answers.argmax(1) != reference.argmax(1))
    chosen = choose_golden(labels, reference, {"a": answers}, count)
    if len(flips):
        off = np.abs(answers - reference).max(axis=1)[flips]
        assert set(flips[off == off.max()]) & set(chosen.tolist())


def test_many_labels_ask_for_more_inputs_up_to_a_limit():
    assert golden_count(2, (224, 224, 3)) == 32
    assert golden_count(100, (32, 32, 3)) == 100
    assert golden_count(1000, (224, 224, 3)) * 224 * 224 * 3 <= MAX_INPUT_BYTES
    assert golden_count(1000, (4096, 4096, 3)) == 32


def photographs(folder: Path, sizes: list[tuple[int, int]], preprocess: Preprocess) -> Photographs:
    rng = np.random.default_rng(0)
    files = []
    for number, (width, height) in enumerate(sizes):
        file = folder / f"{number:03}.png"
        cv2.imwrite(str(file), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        files.append(file)
    inputs = np.stack([preprocess(decode_image(file)) for file in files])
    return Photographs(tuple(files), inputs, np.arange(len(files)) % 2)


def test_every_engine_that_ran_is_recorded_and_the_proving_one_whole(tmp_path: Path):
    preprocess = Preprocess(width=32, height=32)
    made = photographs(tmp_path, [(40, 40)] * 8, preprocess)
    rng = np.random.default_rng(1)
    reference, raw = rng.random((2, 8, 2), dtype=np.float32)
    proof = Proof(compare(reference, raw), Verdict(), raw, raw, "litert 2.3.0 XNNPACK", 1.0)
    chosen = choose_golden(made.labels, reference, {"tflite-int8": raw}, 5)
    answers = {
        ("tflite-int8", "litert"): raw[chosen][:2],
        ("tflite-int8", "litert-reference"): raw[chosen][:3] + 1,
        ("tflite-dynamic", "litert"): raw[chosen],  # not shipped
    }
    golden = record_golden(
        tmp_path / "frames",
        preprocess,
        made,
        reference,
        {"tflite-int8": proof},
        chosen=chosen,
        matrix=Matrix((), answers, {}, {}),
    ).tensors
    assert (golden.inputs == made.inputs[chosen]).all()
    assert (golden.reference == reference[chosen]).all()
    assert set(golden.engine_raw) == {key for key in answers if key[0] == "tflite-int8"}
    assert (golden.engine_raw["tflite-int8", "litert"] == raw[chosen]).all()
    assert (golden.engine_raw["tflite-int8", "litert-reference"] == raw[chosen][:3] + 1).all()


def recorded_sizes(tmp_path: Path, sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    preprocess = Preprocess(width=32, height=32)
    source = tmp_path / "photographs"
    source.mkdir()
    made = photographs(source, sizes, preprocess)
    reference = np.tile(np.array([[0.5, 0.5]], np.float32), (len(sizes), 1))
    golden = record_golden(tmp_path / "frames", preprocess, made, reference, {})
    for file, frame in zip(golden.frame_files, golden.tensors.frames, strict=True):
        assert file.parent == tmp_path / "frames"
        assert (decode_image(file) == frame).all()
    for frame, tensor in zip(golden.tensors.frames, golden.tensors.frame_inputs, strict=True):
        assert (preprocess(frame) == tensor).all()
    return [(f.shape[1], f.shape[0]) for f in golden.tensors.frames]


@pytest.mark.parametrize("place", [0, 40, 99])
def test_the_frames_are_made_smaller_and_larger(tmp_path: Path, place: int):
    """One small picture among many of one size, also where it is no golden input."""
    sizes = [(64, 48)] * 45
    sizes.insert(place, (20, 24))
    found = recorded_sizes(tmp_path, sizes)
    assert len(found) == GOLDEN_FRAMES
    assert (20, 24) in found
    assert (64, 48) in found


def test_the_frames_have_different_shapes(tmp_path: Path):
    sizes = [(64, 48)] * 10 + [(48, 64), (50, 50), (24, 16), (16, 24)]
    found = recorded_sizes(tmp_path, sizes)
    assert len(set(found)) == GOLDEN_FRAMES
    assert {w > 32 and h > 32 for w, h in found} == {True, False}


def test_few_pictures_are_all_taken(tmp_path: Path):
    assert recorded_sizes(tmp_path, [(40, 40)] * 2) == [(40, 40)] * 2
