"""What a file is, by its content: a name such as `.pb`, `.h5` or `.bin` says several things."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from converters.errors import RunError
from converters.run_folder import RECORD_NAME

Kind = Literal["run", "keras", "h5", "json", "savedmodel", "tflite", "onnx"]

_HEAD_BYTES = 4096
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ONNX_GRAPH_TAG = 0x3A  # field 7, of length-delimited bytes
_BYTES = 2  # the wire type of what has a length
# What may stand before the graph, by its field: IR version, producer and its version, domain,
# model version, words, operator sets, metadata.
_ONNX_FIELDS = {1: 0, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: 0, 6: _BYTES, 8: _BYTES, 14: _BYTES}
_ONNX_FIRST = {bytes([field << 3 | wire]) for field, wire in _ONNX_FIELDS.items()}
_MOST_ONNX_FIELDS = 10_000
_MODEL_FILES = (".keras", ".h5", ".tflite", ".onnx")
_EXPORT = "export it to ONNX first"


@dataclass(frozen=True)
class _Stranger:
    """A format that is no model of ours to read, and what its owner does about it."""

    what: str
    looks: Callable[[Path, bytes], bool]
    advice: str


def _zip_holding(*endings: str) -> Callable[[Path, bytes], bool]:
    def looks(path: Path, head: bytes) -> bool:
        return any(name.endswith(endings) for name in _zip_names(path, head))

    return looks


def _begins(*marks: bytes) -> Callable[[Path, bytes], bool]:
    return lambda _, head: head.startswith(marks)


# In this order: a PyTorch file is a ZIP with pickles in it, and pickles are many things.
_STRANGERS = (
    _Stranger(
        "a PyTorch file",
        _zip_holding("data.pkl", "constants.pkl", ".pth"),
        "torch.onnx.export(model, picture, 'model.onnx') makes an ONNX file of the model",
    ),
    _Stranger(
        "an edgeproof bundle",
        _zip_holding("bundle.json"),
        "it is converted already: edgeproof verify, bench and run take it",
    ),
    _Stranger("a NumPy archive of weights", _zip_holding(".npy"), "save the whole model instead"),
    _Stranger(
        "a Python pickle",
        _begins(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        f"pickles run code and are not opened; load it where it was made and {_EXPORT}",
    ),
    _Stranger(
        "safetensors: weights without a graph",
        lambda _, head: len(head) > 8 and head[8:9] == b"{" and b'"dtype"' in head,
        f"load it into its model and {_EXPORT}",
    ),
    _Stranger(
        "GGUF: a language model",
        _begins(b"GGUF"),
        "edgeproof is for models of pictures",
    ),
    _Stranger(
        "a TensorRT engine",
        _begins(b"ftrt", b"ptrt"),
        "an engine is made for one GPU; take the ONNX file that it was built from",
    ),
    _Stranger(
        "OpenVINO's XML",
        lambda _, head: b"<net " in head,
        "take the ONNX file that it was made from",
    ),
    _Stranger(
        "ncnn's parameters",
        _begins(b"7767517"),
        "take the ONNX file that it was made from",
    ),
    _Stranger(
        "a Git LFS pointer, not the file itself",
        _begins(b"version https://git-lfs"),
        "run git lfs pull where it was cloned",
    ),
    _Stranger("a web page", _begins(b"<!DOCTYPE", b"<!doctype", b"<html"), "download it again"),
    _Stranger("a gzip archive", _begins(b"\x1f\x8b"), "unpack it first (tar xzf)"),
)


def kind_of(path: Path) -> Kind:
    """What a model file or folder is.

    Raises:
        RunError: when it is none that edgeproof reads; the message says what it looks like.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        there = "is no regular file" if path.exists() else "no such file or folder"
        raise RunError(f"{path}: {there}.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as exc:
        raise RunError(f"{path}: cannot be read: {exc.strerror}.") from exc
    if not head:
        raise RunError(f"{path}: is empty; copy it again.")
    for kind, looks in _SIGNS.items():
        if looks(path, head):
            return kind
    for stranger in _STRANGERS:
        if stranger.looks(path, head):
            raise RunError(f"{path}: is {stranger.what}; {stranger.advice}.")
    raise RunError(
        f"{path}: is no model that edgeproof knows by its content: .keras, Keras 2 .h5, JSON with "
        "weights, a SavedModel folder, .tflite or .onnx. It may be damaged or cut off."
    )


def _kind_of_folder(path: Path) -> Kind:
    if (path / RECORD_NAME).is_file():
        return "run"
    if (path / "saved_model.pb").is_file():
        return "savedmodel"
    if (path / "saved_model.pbtxt").is_file():
        raise RunError(f"{path}: is a SavedModel as text; save it again (tf.saved_model.save).")
    if (path / "bundle.json").is_file():
        raise RunError(f"{path}: is a bundle, converted already; verify, bench and run take it.")
    found = sorted(p.name for p in path.iterdir() if p.suffix in _MODEL_FILES)
    hint = f"name the file in it, such as {found[0]}" if found else "was training finished?"
    raise RunError(
        f"{path}: no training run there (it holds no {RECORD_NAME} and no saved_model.pb; {hint})."
    )


def _zip_names(path: Path, head: bytes) -> list[str]:
    if not head.startswith(b"PK"):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:10_000]
    except Exception:  # zipfile raises whatever it meets in a damaged archive
        return []


def _is_keras(path: Path, head: bytes) -> bool:
    return {"config.json", "model.weights.h5"} <= set(_zip_names(path, head))


def _is_json(path: Path, head: bytes) -> bool:
    return head.lstrip()[:1] == b"{" and b'"class_name"' in head


def _is_onnx(path: Path, head: bytes) -> bool:
    """A ModelProto: small known fields, and a graph after them. Words may be long: they are passed.

    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    if head[:1] not in _ONNX_FIRST:
        return False
    with path.open("rb") as file:
        for number in range(_MOST_ONNX_FIELDS):
            tag = _varint(file)
            if tag == _ONNX_GRAPH_TAG:
                return number > 0
            if tag >> 3 not in _ONNX_FIELDS or tag & 7 != _ONNX_FIELDS[tag >> 3]:
                return False
            value = _varint(file)
            if tag & 7 == _BYTES:
                file.seek(value, 1)
    return False


def _varint(file: IO[bytes]) -> int:
    """-1 at the end of the file."""
    value = 0
    for shift in range(0, 35, 7):
        byte = file.read(1)
        if not byte:
            return -1
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return -1


_SIGNS: dict[Kind, Callable[[Path, bytes], bool]] = {
    "tflite": lambda _, head: head[4:8] == b"TFL3",
    "h5": _begins(_HDF5),
    "keras": _is_keras,
    "json": _is_json,
    "onnx": _is_onnx,
}


def weights_beside(structure: Path, weights: Path | None) -> Path:
    """The weights that belong to a model's JSON: as given, or the one HDF5 file beside it.

    Raises:
        RunError: when there is none, or it is not clear which.
    """
    if weights is not None:
        if not weights.is_file():
            raise RunError(f"{weights}: no such file; --weights names the JSON model's .h5.")
        return weights
    beside = sorted(p for p in structure.parent.iterdir() if p.suffix in (".h5", ".hdf5"))
    if len(beside) == 1:
        return beside[0]
    why = f"{len(beside)} .h5 files lie beside it" if beside else "no .h5 file lies beside it"
    raise RunError(f"{structure}: is a structure without weights, and {why}; give --weights FILE.")


def json_structure(path: Path, most_bytes: int) -> str:
    """The text of a model's JSON. Raises RunError when it is too large or none."""
    if path.stat().st_size > most_bytes:
        raise RunError(f"{path}: is larger than the structure of any model.")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RunError(f"{path}: is not JSON: {exc}.") from exc
    return text
