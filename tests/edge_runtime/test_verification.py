"""The proof, replayed: it names the first stage that differs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_runtime.engines as engines
from edge_runtime.bundle import Bundle
from edge_runtime.engines import load_engine
from edge_runtime.errors import BundleError
from edge_runtime.files import sha256_file
from edge_runtime.golden import GoldenTensors
from edge_runtime.machine import machine_facts
from edge_runtime.manifest import MatrixCell
from edge_runtime.verification import Check, verify

NAME = "tflite-float32"


def golden(bundle: Path) -> GoldenTensors:
    return GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=(NAME,))


def rewrite(bundle: Path, reseal, **changes) -> Bundle:
    """Record other tensors, sealed with fitting hashes: as if another machine had recorded."""
    recorded = golden(bundle)
    fields = (
        *("frames", "frame_inputs", "inputs", "reference"),
        *("raw", "probabilities", "engine_raw"),
    )
    values = {name: changes.get(name, getattr(recorded, name)) for name in fields}
    file = bundle / "golden" / "tensors.npz"
    GoldenTensors(**values).write(file)
    return resealed(bundle, reseal, file)


def resealed(bundle: Path, reseal, file: Path) -> Bundle:
    manifest = Bundle.open(bundle).manifest
    tensors = manifest.golden.tensors.model_copy(
        update={"bytes": file.stat().st_size, "sha256": sha256_file(file)}
    )
    changed = manifest.golden.model_copy(update={"tensors": tensors})
    reseal(bundle, manifest.model_copy(update={"golden": changed}))
    return Bundle.open(bundle)


def test_a_whole_bundle_answers_as_recorded(colour_bundle: Path):
    result = verify(Bundle.open(colour_bundle))
    assert result.passed
    assert result.first_difference is None
    assert result.variants_replayed >= 1


def test_a_decoder_that_differs_is_blamed_and_no_later_stage(colour_bundle: Path, reseal):
    frames = tuple(np.roll(f, 1, axis=0) for f in golden(colour_bundle).frames)
    inputs = np.stack([Bundle.open(colour_bundle).preprocess(f) for f in frames])
    result = verify(rewrite(colour_bundle, reseal, frames=frames, frame_inputs=inputs))
    assert not result.passed
    assert result.first_difference.stage == "decode"
    assert [c.stage for c in result.checks if c.status == "differs"] == ["decode"]


def test_one_level_in_preprocessing_is_found(colour_bundle: Path, reseal):
    inputs = golden(colour_bundle).frame_inputs.copy()
    inputs[0, 0, 0, 0] ^= 1
    result = verify(rewrite(colour_bundle, reseal, frame_inputs=inputs))
    assert result.first_difference.stage == "preprocess"
    assert result.first_difference.max_difference == 1
    frames = Bundle.open(colour_bundle).manifest.golden.frames
    said = result.first_difference.detail
    assert said == f"1 of {len(frames)} frames differ, {frames[0].path} by up to 1 levels"


@pytest.mark.parametrize(("value", "stage"), [(0.5, "engine"), (np.nan, "head"), (np.inf, "head")])
def test_an_engine_that_answers_otherwise_is_found(colour_bundle: Path, reseal, value, stage):
    other = golden(colour_bundle).raw[NAME].copy()
    other[2] = value
    result = verify(rewrite(colour_bundle, reseal, raw={NAME: other}, probabilities={NAME: other}))
    assert result.first_difference.stage == stage
    assert not result.passed


def test_a_head_that_differs_is_told_from_the_engine(colour_bundle: Path, reseal):
    swapped = golden(colour_bundle).probabilities[NAME][:, ::-1].copy()
    result = verify(rewrite(colour_bundle, reseal, probabilities={NAME: swapped}))
    assert result.first_difference.stage == "head"


def test_a_variant_without_its_engine_is_named_as_skipped(
    colour_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.verification.installed_engines", lambda _: [])
    result = verify(Bundle.open(colour_bundle))
    skipped = [c for c in result.checks if c.status == "skipped"]
    assert [c.subject for c in skipped] == [NAME]
    assert "litert" in skipped[0].detail
    assert not result.passed  # nothing was proven


def test_a_model_file_that_is_no_model_is_one_difference(colour_bundle: Path, reseal):
    file = colour_bundle / "models" / "float32.tflite"
    file.write_bytes(b"\0" * 100)
    manifest = Bundle.open(colour_bundle).manifest
    entry = manifest.variants[0].file.model_copy(update={"bytes": 100, "sha256": sha256_file(file)})
    variant = manifest.variants[0].model_copy(update={"file": entry})
    reseal(colour_bundle, manifest.model_copy(update={"variants": (variant,)}))
    result = verify(Bundle.open(colour_bundle))
    assert result.first_difference.stage == "engine"
    assert "does not load" in result.first_difference.detail


def test_damage_is_found_before_anything_is_parsed(
    colour_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("parsed before its hash was checked")

    monkeypatch.setattr(GoldenTensors, "read", parse)
    monkeypatch.setattr(engines, "load_engine", parse)
    model = colour_bundle / "models" / "float32.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match="SHA-256"):
        verify(Bundle.open(colour_bundle))


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + b"\0" * 18, b"x" * 50])
def test_a_golden_file_that_is_none_is_refused(colour_bundle: Path, reseal, data: bytes):
    file = colour_bundle / "golden" / "tensors.npz"
    file.write_bytes(data)
    with pytest.raises(BundleError, match="golden"):
        verify(resealed(colour_bundle, reseal, file))


def test_a_pickle_in_the_golden_set_is_not_loaded(colour_bundle: Path, reseal, tmp_path: Path):
    file = colour_bundle / "golden" / "tensors.npz"
    np.savez(file, inputs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BundleError, match="golden"):
        verify(resealed(colour_bundle, reseal, file))


FLOOR, TOLERANCE = 1e-5, 0.05


def with_record(
    bundle: Path, reseal, engine_raw: np.ndarray, *, version: str | None = None, engine="litert"
) -> Bundle:
    """A bundle of schema 2, in which an engine's own answers are recorded."""
    if version is None:
        version = load_engine("litert", bundle / "models" / "float32.tflite").version
    manifest = Bundle.open(bundle).manifest
    variant = manifest.variants[0].model_copy(
        update={"tolerance": TOLERANCE, "floor": FLOOR, "engine": "other-engine 1.0"}
    )
    cell = MatrixCell(variant=NAME, engine=engine, version=version, parity=variant.parity)
    update = {"schema_version": 2, "variants": (variant,), "matrix": (cell,)}
    reseal(bundle, manifest.model_copy(update=update))
    return rewrite(bundle, reseal, engine_raw={(NAME, engine): engine_raw})


def litert_check(bundle: Bundle) -> Check:
    (check,) = [c for c in verify(bundle).checks if c.subject == f"{NAME} on litert"]
    return check


def test_an_engine_is_held_to_its_own_record_with_the_floor(colour_bundle: Path, reseal):
    answers = golden(colour_bundle).raw[NAME].copy()
    whole = with_record(colour_bundle, reseal, answers)
    assert whole.manifest.schema_version == 2
    check = litert_check(whole)
    assert check.status == "same"
    assert "as recorded on litert" in check.detail
    assert "limit 1e-05" in check.detail
    answers[1] += np.array([0.01, 0, -0.01], np.float32)
    check = litert_check(with_record(colour_bundle, reseal, answers))
    assert (check.status, check.stage) == ("differs", "engine")
    assert check.max_difference == pytest.approx(0.01, rel=1e-3)


def test_other_kernels_are_allowed_what_was_seen_between_engines(colour_bundle: Path, reseal):
    answers = golden(colour_bundle).raw[NAME] + np.array([0.01, 0, -0.01], np.float32)
    check = litert_check(with_record(colour_bundle, reseal, answers, version="2.3.0 built-in"))
    assert (check.status, check.stage) == ("same", "head")
    assert "limit 0.05" in check.detail
    farther = answers + np.array([0.05, 0, -0.05], np.float32)
    bundle = with_record(colour_bundle, reseal, farther, version="2.3.0 built-in")
    assert litert_check(bundle).status == "differs"


def check_of_answers_a_little_off(
    bundle: Path, reseal, place: int, precision: str, engine: str, **update: object
) -> Check:
    """What is said of a variant whose engine recorded answers between floor and tolerance away.

    Args:
        place: of the float32 variant that it is made of.
        update: more to change in the manifest.
    """
    manifest = Bundle.open(bundle).manifest
    variant = manifest.variants[place].model_copy(
        update={"precision": precision, "tolerance": TOLERANCE, "floor": FLOOR, "engine": engine}
    )
    name, loaded = variant.name, load_engine(engine, bundle / variant.file.path)
    cell = MatrixCell(variant=name, engine=engine, version=loaded.version, parity=variant.parity)
    update |= {"schema_version": 2, "variants": (variant,), "matrix": (cell,)}
    reseal(bundle, manifest.model_copy(update=update))
    recorded = GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=())
    raw = loaded.infer(recorded.inputs)
    off = raw + np.array([0.01, 0, -0.01], np.float32)
    changed = {
        "raw": {name: raw},
        "probabilities": {name: raw},
        "engine_raw": {(name, engine): off},
    }
    (check,) = [
        c
        for c in verify(rewrite(bundle, reseal, **changed)).checks
        if c.subject == f"{name} on {engine}"
    ]
    return check


@pytest.mark.parametrize(("in_half", "status"), [(False, "differs"), (True, "same")])
def test_float16_onnx_may_differ_more_where_the_processor_computes_in_half_precision(
    twin_bundle: Path, reseal, monkeypatch: pytest.MonkeyPatch, in_half: bool, status: str
):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("edge_runtime.verification.computes_in_half", lambda: in_half)
    check = check_of_answers_a_little_off(twin_bundle, reseal, 1, "float16", "onnxruntime")
    assert check.status == status


@pytest.mark.parametrize(
    ("precision", "made_on", "status"),
    [
        ("dynamic", {"cpu": "another", "architecture": "aarch64"}, "same"),
        ("dynamic", {}, "differs"),
        ("int8", {"cpu": "another", "architecture": "aarch64"}, "differs"),
    ],
)
def test_what_is_rounded_out_of_floats_may_differ_more_on_another_processor(
    colour_bundle: Path, reseal, precision: str, made_on: dict[str, str], status: str
):
    provenance = {"machine": machine_facts() | made_on}
    check = check_of_answers_a_little_off(
        colour_bundle, reseal, 0, precision, "litert", provenance=provenance
    )
    assert check.status == status


def test_an_engine_without_a_record_is_held_to_the_proving_one(colour_bundle: Path, reseal):
    other = golden(colour_bundle).raw[NAME] * 0
    check = litert_check(with_record(colour_bundle, reseal, other, engine="onnxruntime"))
    assert check.status == "same"
    assert "as proven on other-engine 1.0" in check.detail
    assert "limit 0.05" in check.detail


def test_a_record_of_the_first_inputs_holds_for_those(colour_bundle: Path, reseal):
    answers = golden(colour_bundle).raw[NAME][:2].copy()
    check = litert_check(with_record(colour_bundle, reseal, answers))
    assert check.status == "same"
    assert "first 2 as recorded on litert" in check.detail
    assert "as proven on other-engine" in check.detail
    answers[0, 0] += 0.01
    assert litert_check(with_record(colour_bundle, reseal, answers)).status == "differs"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(np.zeros((6, 4), np.float32), id="other-labels"),
        pytest.param(np.zeros((7, 3), np.float32), id="too-many"),
        pytest.param(np.zeros((0, 3), np.float32), id="none"),
        pytest.param(np.zeros(6, np.float32), id="flat"),
        pytest.param(np.full((6, 3), "x"), id="text"),
    ],
)
def test_a_record_that_fits_nothing_is_refused(colour_bundle: Path, reseal, record: np.ndarray):
    with pytest.raises(BundleError, match="does not fit"):
        verify(with_record(colour_bundle, reseal, record))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_record_that_is_not_finite_differs(colour_bundle: Path, reseal, value: float):
    answers = golden(colour_bundle).raw[NAME].copy()
    answers[3] = value
    assert litert_check(with_record(colour_bundle, reseal, answers)).status == "differs"


def test_what_engines_recorded_comes_back_as_it_was_written(colour_bundle: Path, tmp_path: Path):
    recorded = golden(colour_bundle)
    answers = {
        (NAME, "litert"): np.arange(9, dtype=np.int16).reshape(3, 3),
        (NAME, "opencv-dnn"): np.ones((1, 3), np.float32),
        ("onnx-int8", "opencv-dnn"): np.ones((1, 3), np.float32),
    }
    file = tmp_path / "tensors.npz"
    replace(recorded, engine_raw=answers).write(file)
    found = GoldenTensors.read(file, variants=(NAME,)).engine_raw
    assert set(found) == {key for key in answers if key[0] == NAME}
    for key, array in found.items():
        assert array.dtype == answers[key].dtype
        assert (array == answers[key]).all()


def test_a_bundle_of_schema_1_has_no_records_and_still_verifies(colour_bundle: Path):
    bundle = Bundle.open(colour_bundle)
    assert bundle.manifest.schema_version == 1
    assert golden(colour_bundle).engine_raw == {}
    check = litert_check(bundle)
    assert check.status == "same"
    assert "as recorded" in check.detail


def test_an_engine_that_never_ran_a_file_is_skipped_where_it_does_not(colour_bundle: Path, reseal):
    """As tflite-runtime 2.14 and int16x8 files. Where it did run, the same is a difference."""
    file = colour_bundle / "models" / "float32.tflite"
    whole = load_engine("litert", file).version
    answers = golden(colour_bundle).raw[NAME]
    for recorded_on, status in (("onnxruntime", "skipped"), ("litert", "differs")):
        bundle = with_record(colour_bundle, reseal, answers, version=whole, engine=recorded_on)
        file.write_bytes(b"\0" * 100)
        entry = bundle.variants[0].file.model_copy(
            update={"bytes": 100, "sha256": sha256_file(file)}
        )
        variant = bundle.variants[0].model_copy(update={"file": entry})
        reseal(colour_bundle, bundle.manifest.model_copy(update={"variants": (variant,)}))
        result = verify(Bundle.open(colour_bundle))
        (check,) = [c for c in result.checks if c.subject == f"{NAME} on litert"]
        assert (check.status, check.stage) == (status, "engine")
        assert "does not load" in check.detail
        assert not result.passed  # nothing was proven
