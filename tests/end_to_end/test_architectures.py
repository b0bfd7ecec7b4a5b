"""Every architecture of pictures trains, becomes every variant, keeps its gates, answers frames."""

import gc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters import ConvertOptions, convert
from converters.tflite.graph import TfliteGraph
from converters.variants import RECIPES
from edge_runtime import Bundle, Classifier, open_source, run
from edge_runtime.engines import load_engine
from edge_runtime.sinks import CollectingSink
from trainer import ARCHITECTURES, TrainOptions, train

pytestmark = pytest.mark.end_to_end

# The same of clips: test_clips.py.
OF_PICTURES = [name for name, row in ARCHITECTURES.items() if not row.frames]
SIDE, COLOURS = 32, ("blue", "green", "red")
# At 32 pixels a model learns these in a hundred steps or so; ResNet50's are long ones, and what
# EfficientNet-Lite has learnt by then is not yet sure enough to be rounded.
EPOCHS, OTHERS = 12, {"resnet50": 6, "efficientnet_lite0": 20}
# So narrow a network still guesses after a hundred steps of the usual size.
NARROW = ("mobilenet", "efficientnet")
RATES = {name: 0.01 for name in ARCHITECTURES if name.startswith(NARROW)}


def picture(channel: int, rng: np.random.Generator) -> np.ndarray:
    """Noise, brighter in one channel; uint8 BGR, (40, 48, 3)."""
    noise = rng.integers(0, 90, (40, 48, 3), dtype=np.uint8)
    noise[..., channel] += 120
    return noise


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 8), ("test", 12)):
        for channel, name in enumerate(COLOURS):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / part / name / f"{number:02}.png"), picture(channel, rng))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of each colour."""
    file, rng = tmp_path_factory.mktemp("clip") / "colours.avi", np.random.default_rng(1)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 40))
    for number in range(30):
        writer.write(picture(number // 10, rng))
    writer.release()
    return file


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """TensorFlow's graphs of one model go before the next one comes: gigabytes of them."""
    yield
    import keras

    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize("name", OF_PICTURES)
def test_photographs_to_frames(name: str, photos: Path, clip: Path, tmp_path: Path):
    row = ARCHITECTURES[name]
    options = TrainOptions(
        architecture=name,
        side=SIDE,
        alpha=0.35 if row.has_width else 1.0,
        weights="none",
        augment="none",
        epochs=OTHERS.get(name, EPOCHS),
        batch_size=8,
        learning_rate=RATES.get(name),
        dropout=0.0,
    )
    trained = train(photos, tmp_path / "run", options)
    assert trained.record.metrics.accuracy >= 0.9

    made = convert(
        tmp_path / "run",
        tmp_path / "model.bundle",
        ConvertOptions(calibration=30, calibrate_by="minmax"),
    )
    made.require()  # names each variant that misses its gate
    bundle = Bundle.open(tmp_path / "model.bundle")
    assert {variant.name for variant in bundle.variants} == {recipe.name for recipe in RECIPES}
    check_int8(bundle.folder / "models" / "int8.tflite")
    for variant in ("tflite-int8", "onnx-float32"):
        answers = CollectingSink()
        run(Classifier(bundle, variant=variant), open_source(clip), [answers])
        labels = [result.answer.label for result in answers.results if result.answer]
        truth = [COLOURS[number // 10] for number in range(30)]
        assert np.mean([a == b for a, b in zip(labels, truth, strict=True)]) >= 0.9


def check_int8(file: Path) -> None:
    """Integers from end to end, and each pixel level stays itself."""
    graph = TfliteGraph(file.read_bytes())
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT32"}
    assert "CAST" not in graph.operator_names()
    spec = load_engine("litert", file).input
    assert spec.dtype == np.uint8
    assert spec.scale > 0
    assert 0 <= spec.zero_point <= 255
