"""The proof, replayed: it names the first stage that differs."""

from pathlib import Path

import numpy as np
import pytest

import edge_runtime.engines as engines
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BundleError
from edge_runtime.golden import GoldenTensors
from edge_runtime.verification import verify

NAME = "tflite-float32"


def golden(bundle: Path) -> GoldenTensors:
    return GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=(NAME,))


def rewrite(bundle: Path, reseal, **changes) -> Bundle:
    """Record other tensors, sealed with fitting hashes: as if another machine had recorded."""
    recorded = golden(bundle)
    fields = ("frames", "frame_inputs", "inputs", "reference", "raw", "probabilities")
    values = {name: changes.get(name, getattr(recorded, name)) for name in fields}
    file = bundle / "golden" / "tensors.npz"
    GoldenTensors(**values).write(file)
    return resealed(bundle, reseal, file)


def resealed(bundle: Path, reseal, file: Path) -> Bundle:
    from edge_runtime.files import sha256_file

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
    from edge_runtime.files import sha256_file

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
