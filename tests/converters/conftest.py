"""Small trained runs, made once a session: two classes with a sigmoid, three with a softmax."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SIDE = 24
COLOURS = ("blue", "green", "red")


def photograph(label: int, rng: np.random.Generator) -> np.ndarray:
    """A noisy picture with a blot of one colour, not trivially so."""
    image = rng.integers(0, 160, (48, 64, 3), dtype=np.uint8)
    x, y = rng.integers(8, 40, 2)
    image[y - 8 : y + 8, x - 8 : x + 8, label] = rng.integers(150, 256)
    return image


def write_photographs(root: Path, labels: int) -> dict[str, list[list[Any]]]:
    rng = np.random.default_rng(5)
    listed: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    for split, count in (("train", 60), ("test", 40)):
        for label in range(labels):
            folder = root / split / COLOURS[label]
            folder.mkdir(parents=True)
            for number in range(count):
                path = folder / f"{number:03}.png"
                cv2.imwrite(str(path), photograph(label, rng))
                listed[split].append([path.relative_to(root).as_posix(), label])
    return listed


def small_model(labels: int) -> Any:
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(3)
    x = image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-128 / 127.5)(x)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU(max_value=6)(x))
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(x))
    units, activation = (1, "sigmoid") if labels == 2 else (labels, "softmax")
    return keras.Model(image, keras.layers.Dense(units, activation, name="probabilities")(x))


def save_run(run: Path, model: Any, listed: dict[str, Any], labels: int) -> Path:
    """Write a run as `edgeproof train` does."""
    from edge_runtime.preprocess import Preprocess

    run.mkdir(parents=True, exist_ok=True)
    model.save(run / "model.keras")
    record = {
        "schema_version": 1,
        "architecture": "small",
        "labels": list(COLOURS[:labels]),
        "preprocess": Preprocess(width=SIDE, height=SIDE).model_dump(),
        "head": {"kind": "sigmoid" if labels == 2 else "softmax"},
        "model": {
            "path": "model.keras",
            "sha256": hashlib.sha256((run / "model.keras").read_bytes()).hexdigest(),
        },
        "data": {"root": str(run / "photographs"), "held_out": "test", **listed},
    }
    (run / "training.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs by their number of labels."""
    from converters.keras_quiet import keras
    from edge_runtime.images import decode_image
    from edge_runtime.preprocess import Preprocess

    runs = {}
    for labels in (2, 3):
        run = tmp_path_factory.mktemp("runs") / f"labels{labels}"
        listed = write_photographs(run / "photographs", labels)
        preprocess = Preprocess(width=SIDE, height=SIDE)
        x = np.stack(
            [preprocess(decode_image(run / "photographs" / path)) for path, _ in listed["train"]]
        )
        y = np.array([label for _, label in listed["train"]])
        model = small_model(labels)
        loss = "binary_crossentropy" if labels == 2 else "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(3e-3), loss)
        model.fit(x, y, epochs=15, batch_size=16, verbose=0)
        runs[labels] = save_run(run, model, listed, labels)
    return runs


@pytest.fixture
def run_copy(trained: dict[int, Path], tmp_path: Path) -> Path:
    """A three-label run that a test may damage."""
    copy = tmp_path / "run"
    shutil.copytree(trained[3], copy)
    record = json.loads((copy / "training.json").read_text())
    record["data"]["root"] = str(copy / "photographs")
    (copy / "training.json").write_text(json.dumps(record))
    return copy


@pytest.fixture
def edit_record() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    """Change a run's training.json."""

    def edit(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        record = json.loads((run / "training.json").read_text())
        change(record)
        (run / "training.json").write_text(json.dumps(record))

    return edit
