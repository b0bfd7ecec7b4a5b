"""The labels inside a model file are those of the bundle, or verify says so."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.files import sha256_file
from edge_runtime.model_labels import LABEL_FILE, carries_other_labels, label_lines
from edge_runtime.verification import Check, verify

LABELS = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        pytest.param(("a", "b"), "a\nb\n", id="plain"),
        pytest.param((" a ", "ü\t青"), " a \nü\t青\n", id="as-they-are"),
        pytest.param(("a\nb", "a\r\nb", "a b"), "a b\na b\na b\n", id="same-afterwards"),
        pytest.param(("a\u2028b\x85", "\n\r"), "a b \n1\n", id="other-line-ends"),
        pytest.param(("", "  ", "c"), "0\n1\nc\n", id="blank"),
        pytest.param(("a\ud800",), "a?\n", id="not-unicode"),
    ],
)
def test_one_line_for_each_label(labels: tuple[str, ...], lines: str):
    written = label_lines(labels).decode()
    assert written == lines
    assert len(written.splitlines()) == len(labels)


def zipped(content: bytes, name: str = LABEL_FILE) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return held.getvalue()


def tflite(folder: Path, behind: bytes) -> Path:
    file = folder / "model.tflite"
    file.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64) + behind)
    return file


@pytest.mark.parametrize(
    ("behind", "other"),
    [
        pytest.param(b"", False, id="none"),
        pytest.param(zipped(b"notes", "notes.txt"), False, id="another-file"),
        pytest.param(zipped(label_lines(LABELS)), False, id="same"),
        pytest.param(zipped(label_lines(("green", "red", "blue"))), True, id="order"),
        pytest.param(zipped(label_lines(LABELS[:2])), True, id="fewer"),
        pytest.param(zipped(bytes(17 * 2**20)), True, id="bomb"),
        pytest.param(zipped(label_lines(LABELS)).replace(b"PK\x03", b"PK\x04"), True, id="damaged"),
    ],
)
def test_labels_behind_a_tflite_file(tmp_path: Path, behind: bytes, other: bool):
    assert carries_other_labels(tflite(tmp_path, behind), "tflite", LABELS) is other


@pytest.mark.parametrize(
    ("inside", "other"),
    [
        pytest.param(None, False, id="none"),
        pytest.param('["red", "green", "blue"]', False, id="same"),
        pytest.param('["red", "blue", "green"]', True, id="order"),
        pytest.param('{"0": "red"}', True, id="no-list"),
        pytest.param("red, green, blue", True, id="no-json"),
        pytest.param("[" * 100_000, True, id="deep"),
    ],
)
def test_labels_in_an_onnx_file(tmp_path: Path, onnx_bytes, inside: str | None, other: bool):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model_from_string(onnx_bytes())
    if inside is not None:
        model.metadata_props.add(key="labels", value=inside)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    assert carries_other_labels(file, "onnx", LABELS) is other


def test_what_is_no_onnx_file_has_other_labels(tmp_path: Path):
    file = tmp_path / "model.onnx"
    file.write_bytes(np.random.default_rng(0).bytes(999))
    assert carries_other_labels(file, "onnx", LABELS)


def test_verify_finds_a_file_with_other_labels(colour_bundle: Path, reseal):
    def checked(labels: tuple[str, ...]) -> Check:
        file = colour_bundle / "models" / "float32.tflite"
        file.write_bytes(whole + zipped(label_lines(labels)))
        (variant,) = manifest.variants
        entry = variant.file.model_copy(
            update={"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        )
        changed = (variant.model_copy(update={"file": entry}),)
        reseal(colour_bundle, manifest.model_copy(update={"variants": changed}))
        result = verify(Bundle.open(colour_bundle))
        return next(c for c in result.checks if c.subject.startswith(f"{variant.name} on litert"))

    whole = (colour_bundle / "models" / "float32.tflite").read_bytes()
    manifest = Bundle.open(colour_bundle).manifest
    assert checked(manifest.labels).status == "same"
    swapped = checked(manifest.labels[::-1])
    assert (swapped.status, swapped.stage) == ("differs", "head")
    assert "labels inside the file" in swapped.detail
