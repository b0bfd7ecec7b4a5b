"""What a file is, by its content alone."""

import pickle
import zipfile
from pathlib import Path

import pytest

from converters.errors import RunError
from converters.incoming.kinds import kind_of, weights_beside


def write(folder: Path, content: bytes, name: str = "model.bin") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def zipped(folder: Path, *names: str) -> Path:
    file = folder / "model.any"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(b"\x1c\0\0\0TFL3" + bytes(40), "tflite", id="tflite"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(40), "h5", id="h5"),
        pytest.param(b'{"class_name": "Sequential", "config": []}', "json", id="json"),
        pytest.param(b"\x08\x07\x12\x04test:\x03abc", "onnx", id="onnx"),
        pytest.param(
            b"\x08\x072\x90\x4e" + b"words" * 2000 + b":\x03abc", "onnx", id="onnx-of-many-words"
        ),
    ],
)
def test_content_counts_and_the_name_does_not(tmp_path: Path, content: bytes, kind: str):
    assert kind_of(write(tmp_path, content, "model.pth")) == kind


def test_zips_and_folders(tmp_path: Path):
    assert kind_of(zipped(tmp_path, "config.json", "metadata.json", "model.weights.h5")) == "keras"
    (tmp_path / "saved").mkdir()
    write(tmp_path / "saved", b"x", "saved_model.pb")
    assert kind_of(tmp_path / "saved") == "savedmodel"
    write(tmp_path / "saved", b"{}", "training.json")
    assert kind_of(tmp_path / "saved") == "run"


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        pytest.param(pickle.dumps([1]), "pickle.*ONNX", id="pickle"),
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1", "git lfs pull", id="lfs"),
        pytest.param(b"<!DOCTYPE html><html>", "download it again", id="html"),
        pytest.param(b"\x1f\x8b\x08", "unpack it first", id="gzip"),
        pytest.param(b"GGUF\3", "language model", id="gguf"),
        pytest.param(b"\xff" * 100, "no model that edgeproof knows", id="random"),
    ],
)
def test_what_is_no_model_of_ours_is_named(tmp_path: Path, content: bytes, advice: str):
    with pytest.raises(RunError, match=advice):
        kind_of(write(tmp_path, content))


def test_a_pytorch_file_and_a_bundle_are_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"torch\.onnx\.export"):
        kind_of(zipped(tmp_path, "archive/data.pkl", "archive/version"))
    with pytest.raises(RunError, match="converted already"):
        kind_of(zipped(tmp_path, "bundle.json"))


def test_the_weights_of_a_json_are_found_or_asked_for(tmp_path: Path):
    structure = write(tmp_path, b"{}", "model.json")
    with pytest.raises(RunError, match="file lies beside it; give --weights"):
        weights_beside(structure, None)
    first = write(tmp_path, b"x", "a.h5")
    assert weights_beside(structure, None) == first
    second = write(tmp_path, b"x", "b.h5")
    with pytest.raises(RunError, match=r"2 \.h5 files"):
        weights_beside(structure, None)
    assert weights_beside(structure, second) == second
