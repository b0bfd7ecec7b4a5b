"""Every architecture trains, becomes every variant, keeps its gates and runs in the loop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from converters import ConvertOptions, convert
from converters.tflite.graph import TfliteGraph
from converters.variants import RECIPES
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.engines import load_engine
from edge_runtime.pipeline import run
from edge_runtime.sinks import CollectingSink
from edge_runtime.sources import open_source
from trainer import ARCHITECTURES, TrainOptions, train

pytestmark = pytest.mark.end_to_end

COLOURS = {"blue": (200, 60, 40), "green": (50, 190, 60), "red": (40, 50, 210)}
# Small, so that all of them take minutes; alpha only where it changes anything.
SIDES = dict.fromkeys(ARCHITECTURES, 32) | {"article_cnn": 48, "compact_transformer": 16}
    "resnet8": 32,
    "resnet50": 32,
    "compact_transformer": 32,
}


def picture(colour: str, rng: np.random.Generator) -> np.ndarray:
    """A blot of the colour on grey noise, somewhere."""
    image = rng.integers(90, 130, (64, 64, 3), dtype=np.uint8)
    centre = tuple(int(n) for n in rng.integers(20, 44, 2))
    cv2.circle(image, centre, 18, COLOURS[colour], -1)
    return image


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(5)
    for colour in COLOURS:
        (root / colour).mkdir()
        for number in range(60):
            cv2.imwrite(str(root / colour / f"{number:02}.png"), picture(colour, rng))
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file, rng = tmp_path_factory.mktemp("clip") / "clip.avi", np.random.default_rng(6)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 64))
    for colour in COLOURS:
        for _ in range(5):
            writer.write(picture(colour, rng))
    writer.release()
    return file


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_from_photographs_to_the_camera_loop(
    name: str, photographs: Path, clip: Path, tmp_path: Path
):
    architecture = ARCHITECTURES[name]
    options = TrainOptions(
        architecture=name,
        side=SIDES[name],
        alpha=0.35 if architecture.has_width else 1.0,
        weights="none",
        augment="none",
        epochs=8,
        batch_size=8,
        seed=3,
    )
    trained = train(photographs, tmp_path / name, options)
    assert trained.record.metrics.accuracy > 0.8
    bundle = tmp_path / f"{name}.bundle"
    made = convert(trained.folder, bundle, ConvertOptions(repair=True))
    made.require()
    assert {o.name for o in made.outcomes if o.shipped} == {r.name for r in RECIPES}
    opened = Bundle.open(bundle)
    require_integers_that_keep_every_level(bundle / opened.variant("tflite-int8").file.path)
    for variant in ("tflite-int8", "onnx-int8"):
        answers = CollectingSink()
        run(Classifier(opened, variant=variant), open_source(clip), [answers])
        labels = [r.prediction.label for r in answers.results if r.prediction]
        truth = [colour for colour in COLOURS for _ in range(5)]
        assert sum(a == b for a, b in zip(labels, truth, strict=True)) >= 12, variant


def require_integers_that_keep_every_level(file: Path) -> None:
    graph = TfliteGraph(file.read_bytes())
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT32"}
    assert "CAST" not in graph.operator_names()
    spec = load_engine("litert", file).input
    assert spec.dtype == np.uint8
    # One step is one pixel level: at least 255 steps from black to white.
    assert spec.scale > 0
    assert 0 <= spec.zero_point <= 255
