"""Raw tensors: comparing them, and what a manifest may say of them."""

import json

import numpy as np
import pytest

from converters.gates import gates
from edge_runtime.errors import TensorError
from edge_runtime.manifest import Manifest, Parity
from edge_runtime.tensor_parity import channel_axis, compare_tensors
from edge_runtime.tensors import TensorOutput, joined, shaped, slices, some_outputs

RNG = np.random.default_rng(0)


def compared(reference: np.ndarray, answers: np.ndarray, **about: object) -> Parity:
    """One output's figures; the range is the reference's own."""
    output = TensorOutput(
        name="out", shape=reference.shape[1:], range=float(np.ptp(reference)) or 1.0, **about
    )
    rows = [joined([values.astype(np.float32)], [output]) for values in (reference, answers)]
    return compare_tensors(*rows, outputs=[output])


def test_outputs_stand_in_a_row_and_come_back():
    outputs = (
        TensorOutput(name="boxes", shape=(3, 4), range=640.0),
        TensorOutput(name="count", shape=(), dtype="int32", whole=True),
    )
    boxes, count = RNG.random((2, 3, 4)) * 640, np.array([3, 2])
    row = joined({"count": count, "boxes": boxes}, outputs)
    assert row.shape == (2, 13) and row.dtype == np.float32 and row[:, :12].max() <= 1
    assert [at for _, at in slices(outputs)] == [slice(0, 12), slice(12, 13)]
    assert outputs[1].typed(row[:, 12]).tolist() == [3, 2]
    assert some_outputs(outputs) == "boxes 3x4, count one number"
    assert shaped("litert", np.zeros((1, 12)), outputs[0]).shape == (3, 4)
    with pytest.raises(TensorError, match=r"litert answers \(5,\) as 'boxes'"):
        shaped("litert", np.zeros(5), outputs[0])


def test_the_same_has_no_error():
    parity = compared(values := RNG.normal(size=(4, 8, 8, 3)), values)
    assert parity.max_abs_error == 0 and parity.sqnr_db is None
    assert parity.outputs[0].cosine == pytest.approx(1)
    assert all(gate.judge(parity).missed == () for gate in gates().values())


def test_noise_is_told_in_decibels_about_the_mean():
    """A large constant in all numbers must not hide that the rest is noise."""
    reference = 1000 + RNG.normal(size=(16, 512))
    noisy = reference + 0.1 * RNG.normal(size=reference.shape)
    (figures,) = compared(reference, noisy).outputs
    assert figures.sqnr_db == pytest.approx(20, abs=0.3)
    assert figures.cosine is not None and figures.cosine > 0.99999
    worse = compared(reference, reference + RNG.normal(size=reference.shape))
    assert gates()["int8"].judge(compared(reference, noisy)).missed == ()
    (missed,) = gates()["int8"].judge(worse).missed
    assert missed.startswith("out: signal to noise")


@pytest.mark.parametrize("shape", [(200, 84), (84, 200)])
def test_scores_beside_boxes_in_pixels_are_lost_to_eight_bits(shape: tuple[int, int]):
    """The tensor as a whole is near enough, and nothing can be detected by it any more."""
    head = np.concatenate([RNG.random((6, 200, 4)) * 640, RNG.random((6, 200, 80)) ** 8], axis=2)
    reference = head if shape[1] == 84 else head.transpose(0, 2, 1)
    step = 640 / 255
    parity = compared(reference, np.round(reference / step) * step)
    assert parity.sqnr_db is not None and parity.sqnr_db > 30
    (figures,) = parity.outputs
    assert (figures.channels, figures.flat_channels) == (84, 80)
    (missed,) = gates()["int8"].judge(parity).missed
    assert missed == "out: 80 of 84 channels became one and the same number each"


def test_whole_numbers_have_to_be_the_same():
    reference = RNG.integers(0, 20, (10, 16, 16))
    other = reference.copy()
    other[0, :8] += 1
    parity = compared(reference, other, whole=True, dtype="int64")
    assert parity.outputs[0].agreement == pytest.approx(0.95)
    (missed,) = gates()["int8"].judge(parity).missed
    assert "95.00% of its whole numbers are the same < 98.0%" in missed
    assert not gates()["int8"].judge(compared(reference, reference + 0.2, whole=True)).missed


def test_what_is_not_finite_misses_every_gate():
    reference = RNG.normal(size=(4, 10))
    broken = reference.copy()
    broken[2, 3] = np.nan
    parity = compared(reference, broken)
    assert parity.max_abs_error is None and parity.nonfinite == 1 and parity.worst_sample == 2
    for gate in gates().values():
        assert gate.judge(parity).missed == ("out: 1 of its numbers are NaN or infinite",)


def test_an_output_that_never_changes_has_to_stay_so():
    still = np.zeros((4, 6))
    assert gates()["int8"].judge(compared(still, still)).missed == ()
    (missed,) = gates()["int8"].judge(compared(still, still + 0.5)).missed
    assert "never changes" in missed


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((512,), None),
        ((8400, 84), 1),
        ((84, 8400), 0),
        ((64, 64, 21), 2),
        ((21, 64, 64), 0),
        ((19, 19, 255), 2),
        ((), None),
    ],
)
def test_where_the_channels_are(shape: tuple[int, ...], axis: int | None):
    assert channel_axis(shape) == axis


def tensor_manifest(**changes: object) -> str:
    file = {"path": "a.tflite", "bytes": 1, "sha256": "0" * 64}
    parity = {"samples": 1, "max_abs_error": 0, "mean_abs_error": 0, "cosine": 1}
    parity |= {"top1_agreement": 1, "nonfinite": 0, "worst_sample": 0}
    variant = {"format": "tflite", "precision": "int8", "file": file, "parity": parity}
    manifest = {
        "schema_version": 4,
        "name": "ssd",
        "task": "tensors",
        "labels": [],
        "outputs": [{"name": "boxes", "shape": [10, 4]}],
        "preprocess": {"width": 8, "height": 8, "fit": "stretch"},
        "head": None,
        "variants": [{**variant, "tolerance": 0.1, "latency_ms": 1}],
        "golden": {"frames": [], "tensors": {**file, "path": "golden.npz"}},
    }
    return json.dumps(manifest | changes)


def test_a_manifest_of_tensors_has_outputs_and_no_labels():
    manifest = Manifest.model_validate_json(tensor_manifest())
    assert manifest.answered == 40 and manifest.head is None
    whole = manifest.in_lowest_schema()
    assert whole.schema_version == 4
    assert Manifest.model_validate_json(whole.to_json()) == manifest
    boxes = {"name": "boxes", "shape": [10, 4]}
    for changes, why in (
        ({"labels": ["a", "b"]}, "no labels"),
        ({"outputs": []}, "have outputs"),
        ({"head": {"kind": "softmax"}}, "no labels, head"),
        ({"outputs": [boxes, boxes]}, "same name"),
        ({"outputs": [{**boxes, "shape": [0, 4]}]}, "greater than or equal to 1"),
        ({"outputs": [{**boxes, "range": 0}]}, "greater than 0"),
        ({"outputs": [{**boxes, "dtype": "object"}]}, "dtype"),
        ({"outputs": [{**boxes, "shape": [1 << 20, 1 << 20]}]}, "numbers are answered"),
        ({"task": "classification"}, "two labels"),
    ):
        with pytest.raises(ValueError, match=why):
            Manifest.model_validate_json(tensor_manifest(**changes))
