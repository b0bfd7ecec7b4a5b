"""Shared by all packages' tests: a real bundle that needs no training and no TensorFlow.

Its model says which colour a picture mostly is: cast, mean over the pixels, scale, softmax, written
as a TFLite flatbuffer operator by operator.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.bundle import manifest_hash_line
from edge_runtime.engines import load_engine
from edge_runtime.files import sha256_file
from edge_runtime.golden import GoldenTensors
from edge_runtime.head import Head
from edge_runtime.images import decode_image
from edge_runtime.manifest import FileEntry, GoldenEntry, Manifest, Parity, Variant
from edge_runtime.preprocess import Preprocess

COLOURS = ("red", "green", "blue")
SIDE = 16
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user picked or cached is no part of a test, and tests leave nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real photographs and videos; the test skips where it is absent."""
    folder = Path(os.environ.get("EDGEPROOF_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent (EDGEPROOF_DATA names another)")
    return folder


def colour_picture(index: int, *, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A noisy picture that is mostly the colour of that index; uint8 BGR."""
    rng = np.random.default_rng((seed, index))
    rgb = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    rgb[..., index] += 120
    return np.ascontiguousarray(rgb[..., ::-1])


def colour_model() -> bytes:
    """TFLite file: uint8 (1, 16, 16, 3) RGB to float32 (1, 3) probabilities."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes, graph.tensors, graph.operators = [], [], []

    def tensor(name: str, shape: list[int], dtype: int, data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, dtype, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, options: object, kind: int) -> None:
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        model.operatorCodes.append(entry)
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, [output]
        made.builtinOptions, made.builtinOptionsType = options, kind
        graph.operators.append(made)

    types, ops, kinds = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    image = tensor("image", [1, SIDE, SIDE, 3], types.UINT8)
    value = tensor("value", [1, SIDE, SIDE, 3], types.FLOAT32)
    axes = tensor("axes", [2], types.INT32, np.array([1, 2], np.int32))
    mean = tensor("mean", [1, 3], types.FLOAT32)
    gain = tensor("gain", [1], types.FLOAT32, np.array([1 / 16], np.float32))
    logits = tensor("logits", [1, 3], types.FLOAT32)
    output = tensor("probabilities", [1, 3], types.FLOAT32)
    operator(ops.CAST, [image], value, schema.CastOptionsT(), kinds.CastOptions)
    operator(ops.MEAN, [value, axes], mean, schema.ReducerOptionsT(), kinds.ReducerOptions)
    operator(ops.MUL, [mean, gain], logits, schema.MulOptionsT(), kinds.MulOptions)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    operator(ops.SOFTMAX, [logits], output, softmax, kinds.SoftmaxOptions)
    graph.inputs, graph.outputs, model.subgraphs = [image], [output], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def seal(folder: Path, manifest: Manifest | bytes) -> None:
    """Write a manifest with its hash."""
    data = manifest if isinstance(manifest, bytes) else manifest.model_dump_json().encode()
    (folder / "bundle.json").write_bytes(data)
    (folder / "bundle.sha256").write_text(manifest_hash_line(data))


def entry(folder: Path, path: str) -> FileEntry:
    """The manifest's entry for a file that is there."""
    file = folder / path
    return FileEntry(path=path, bytes=file.stat().st_size, sha256=sha256_file(file))


def build_colour_bundle(folder: Path) -> Path:
    """Write a whole bundle with one variant, `tflite-float32`."""
    (folder / "models").mkdir(parents=True)
    (folder / "golden" / "frames").mkdir(parents=True)
    (folder / "models" / "float32.tflite").write_bytes(colour_model())
    preprocess, head = Preprocess(width=SIDE, height=SIDE, fit="crop"), Head(kind="softmax")
    engine = load_engine("litert", folder / "models" / "float32.tflite", threads=1)
    frames = []
    for index in range(3):
        path = folder / "golden" / "frames" / f"{index}.png"
        cv2.imwrite(str(path), colour_picture(index))
        frames.append(decode_image(path))
    inputs = np.stack([preprocess(colour_picture(i % 3, seed=i)) for i in range(6)])
    raw = engine.infer(inputs)
    GoldenTensors(
        frames=tuple(frames),
        frame_inputs=np.stack([preprocess(frame) for frame in frames]),
        inputs=inputs,
        reference=raw,
        raw={"tflite-float32": raw},
        probabilities={"tflite-float32": head.probabilities(raw)},
    ).write(folder / "golden" / "tensors.npz")
    parity = Parity(
        samples=6,
        max_abs_error=0,
        mean_abs_error=0,
        cosine=1,
        top1_agreement=1,
        nonfinite=0,
        worst_sample=0,
    )
    variant = Variant(
        format="tflite",
        precision="float32",
        file=entry(folder, "models/float32.tflite"),
        parity=parity,
        tolerance=1e-5,
        latency_ms=0.01,
    )
    golden = GoldenEntry(
        frames=tuple(entry(folder, f"golden/frames/{i}.png") for i in range(3)),
        tensors=entry(folder, "golden/tensors.npz"),
    )
    seal(
        folder,
        Manifest(
            schema_version=1,
            name="colours",
            task="classification",
            labels=COLOURS,
            preprocess=preprocess,
            head=head,
            variants=(variant,),
            golden=golden,
        ),
    )
    return folder


@pytest.fixture
def colour_bundle(tmp_path: Path) -> Path:
    """A whole bundle that says which colour a picture mostly is."""
    return build_colour_bundle(tmp_path / "colours.bundle")


@pytest.fixture
def reseal() -> Callable[[Path, Manifest | bytes], None]:
    """Write another manifest into a bundle, with a hash that fits it."""
    return seal


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """`colour_picture`, for tests that want frames."""
    return colour_picture


@pytest.fixture
def colour_folder(tmp_path: Path) -> Path:
    """A folder with one picture of each colour, named after it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate(COLOURS):
        cv2.imwrite(str(folder / f"{name}.png"), colour_picture(index, seed=7))
    return folder


@pytest.fixture
def colour_video(tmp_path: Path) -> Path:
    """An AVI of 30 frames: ten red, ten green, ten blue."""
    path = tmp_path / "colours.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(30):
        writer.write(colour_picture(number // 10, seed=number))
    writer.release()
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
