"""MediaPipe runs a bundle's TFLite files as they are, with our labels and our scores.

It needs an environment of its own: `sh scripts/make_peer_envs.sh .peers mediapipe`, or one that
EDGEPROOF_MEDIAPIPE_PYTHON names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.gates import gates
from converters.tflite.metadata import with_metadata
from edge_runtime.bundle import Bundle
from edge_runtime.engines import load_engine
from edge_runtime.preprocess import Preprocess

pytestmark = pytest.mark.end_to_end

REPOSITORY = Path(__file__).parents[2]
LABELS = ("blå", "green", "red or so")
SIDE = 32
PICTURES = 12
PRECISIONS = ("float32", "float16", "dynamic", "int8")

# Its library is loaded on first use only, so that a missing system library does not show on import.
IMPORT = """
import ctypes, importlib.util, pathlib
import mediapipe.tasks.python.vision
package = pathlib.Path(importlib.util.find_spec("mediapipe").origin).parent
ctypes.CDLL(str(package / "tasks" / "c" / "libmediapipe.so"))
"""

# Takes {"models": [...], "pictures": [...]}; answers for each model what MediaPipe's own code reads
# in its metadata and, for each picture, [index, label, score] in its order; or the error it raises.
CLASSIFY = """
import json, sys
import mediapipe as mp
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions, vision

def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    return {name: part for name, part in vars(value).items() if part is not None}

def metadata(model):
    content = open(model, "rb").read()
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    (entry,) = [entry for entry in parsed.metadata if entry.name == b"TFLITE_METADATA"]
    buffer = bytes(parsed.buffers[entry.buffer].data)
    assert metadata_schema.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
    root = metadata_schema.ModelMetadata.GetRootAsModelMetadata(buffer, 0)
    return metadata_schema.ModelMetadataT.InitFromObj(root)

def classified(model):
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model))
    try:
        classifier = vision.ImageClassifier.create_from_options(options)
    except ValueError as error:
        return {"error": str(error)}
    answers = []
    with classifier:
        for picture in job["pictures"]:
            head = classifier.classify(mp.Image.create_from_file(picture)).classifications[0]
            answers.append([[c.index, c.category_name, c.score] for c in head.categories])
    return {"metadata": metadata(model), "answers": answers}

job = json.load(sys.stdin)
json.dump([classified(model) for model in job["models"]], sys.stdout, default=plain)
"""


@pytest.fixture(scope="module")
def mediapipe_python() -> str:
    default = REPOSITORY / ".peers" / "mediapipe" / "bin" / "python"
    python = os.environ.get("EDGEPROOF_MEDIAPIPE_PYTHON", str(default))
    if not Path(python).exists():
        pytest.skip(f"no MediaPipe: {python} is absent (sh scripts/make_peer_envs.sh .peers)")
    done = subprocess.run([python, "-c", IMPORT], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"MediaPipe does not import: {done.stderr.strip().splitlines()[-1]}")
    return python


def mediapipe(python: str, models: list[Path], pictures: list[Path]) -> list[dict[str, Any]]:
    job = json.dumps({"models": [str(m) for m in models], "pictures": [str(p) for p in pictures]})
    command = [python, "-c", CLASSIFY]
    done = subprocess.run(
        command, input=job, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def photograph(label: int, rng: np.random.Generator, scale: int = 1) -> np.ndarray:
    """A noisy picture with a blot of one colour; wider than it is high."""
    image = rng.integers(0, 160, (48, 64, 3), dtype=np.uint8)
    x, y = rng.integers(8, 40, 2)
    image[y - 8 : y + 8, x - 8 : x + 8, label] = rng.integers(150, 256)
    return np.kron(image, np.ones((scale, scale, 1), np.uint8))


def write_picture(path: Path, picture_bgr: np.ndarray) -> Path:
    """`cv2.imwrite` for any path that the system can write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture_bgr)[1].tobytes())
    return path


@pytest.fixture(scope="module")
def bundle(mediapipe_python: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Trained and converted as a user does it; asks for MediaPipe first, to skip at once."""
    from converters import ConvertOptions, convert
    from trainer import TrainOptions, train

    folder = tmp_path_factory.mktemp("mediapipe")
    rng = np.random.default_rng(5)
    for index, label in enumerate(LABELS):
        for number in range(40):
            path = folder / "photographs" / label / f"{number:02}.png"
            write_picture(path, photograph(index, rng))
    train(folder / "photographs", folder / "run", TrainOptions(side=SIDE, fit="crop", epochs=12))
    names = tuple(f"tflite-{precision}" for precision in PRECISIONS)
    made = folder / "colours.bundle"
    # Gates are no matter here: MediaPipe is held to our scores, not to the trained model's.
    convert(folder / "run", made, ConvertOptions(variants=names, accept=names))
    return Bundle.open(made)


def model_file(bundle: Bundle, precision: str) -> Path:
    return bundle.checked_file(bundle.variant(f"tflite-{precision}").file)


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    """uint8, (pictures, SIDE, SIDE, 3) RGB: what edgeproof makes of photographs."""
    rng, preprocess = np.random.default_rng(6), Preprocess(width=SIDE, height=SIDE, fit="crop")
    return np.stack([preprocess(photograph(i % len(LABELS), rng)) for i in range(PICTURES)])


@pytest.fixture(scope="module")
def answers(
    bundle: Bundle,
    inputs: np.ndarray,
    mediapipe_python: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """MediaPipe's answers by precision."""
    folder = tmp_path_factory.mktemp("inputs")
    pictures = [
        write_picture(folder / f"{number}.png", pixels[..., ::-1])
        for number, pixels in enumerate(inputs)
    ]
    models = [model_file(bundle, precision) for precision in PRECISIONS]
    return dict(zip(PRECISIONS, mediapipe(mediapipe_python, models, pictures), strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_our_labels_and_our_scores(
    bundle: Bundle, inputs: np.ndarray, answers, tmp_path: Path, precision: str
):
    engine = load_engine("litert", model_file(bundle, precision))
    ours = engine.dequantize(engine.infer(inputs))
    # Dynamic rounds each activation as it comes: kernels of another processor may differ.
    limit = {
        "float32": 1e-5,
        "float16": 1e-5,
        "dynamic": gates()["dynamic"].tolerance,
        "int8": engine.output.scale + 1e-6,
    }[precision]
    assert "error" not in answers[precision], answers[precision]
    found = answers[precision]["answers"]
    assert len(found) == len(ours) == PICTURES
    for categories, probabilities in zip(found, ours, strict=True):
        assert [label for _, label, _ in categories] == [LABELS[i] for i, _, _ in categories]
        assert sorted(i for i, _, _ in categories) == list(range(len(LABELS)))
        for index, _, score in categories:
            assert abs(score - probabilities[index]) <= limit
        assert categories[0][0] == probabilities.argmax()
    # Of a model that tells the classes apart, or equal answers would mean little.
    assert len({categories[0][0] for categories in found}) == len(LABELS)


def test_its_own_code_reads_what_we_wrote(answers):
    """The numbers are those of `metadata_schema.fbs`."""
    for precision, highest in (("float32", 1.0), ("int8", 255.0)):
        found = answers[precision]["metadata"]
        assert found["name"]
        assert found["minParserVersion"] == "1.0.0"
        (graph,) = found["subgraphMetadata"]
        (image,), (scores,) = graph["inputTensorMetadata"], graph["outputTensorMetadata"]
        assert (image["name"], scores["name"]) == ("image", "probabilities")
        assert f"{SIDE}x{SIDE}" in image["description"]
        assert image["content"] == {
            "contentPropertiesType": 2,
            "contentProperties": {"colorSpace": 1},
        }
        (unit,) = image["processUnits"]
        assert unit["optionsType"] == 1
        assert unit["options"].keys() == {"mean", "std"}
        assert image["stats"] == {"max": [255.0], "min": [0.0]}
        (labels,) = scores["associatedFiles"]
        assert (labels["name"], labels["type"]) == ("labels.txt", 2)
        assert scores["content"] == {"contentPropertiesType": 1, "contentProperties": {}}
        assert scores["stats"] == {"max": [highest], "min": [0.0]}


def test_labels_that_are_hard_to_write(
    colour_bundle: Path, picture, mediapipe_python: str, tmp_path: Path
):
    """Line breaks, blanks and twins: still one label for each score, in order."""
    plain = (colour_bundle / "models" / "float32.tflite").read_bytes()
    preprocess = Preprocess(width=16, height=16)
    shown = write_picture(tmp_path / "red.png", picture(0))
    for labels, read in (
        (("a\nb", "a b", "\u2028"), ["a b", "a b", "2"]),
        ((" a", "", "日本\t語"), [" a", "1", "日本\t語"]),
    ):
        model = tmp_path / "colours.tflite"
        model.write_bytes(with_metadata(plain, name="c", labels=labels, preprocess=preprocess))
        (found,) = mediapipe(mediapipe_python, [model], [shown])
        assert [label for _, label, _ in sorted(found["answers"][0])] == read
        assert found["answers"][0][0][0] == 0


def test_blue_first_is_refused_and_not_misread(
    colour_bundle: Path, mediapipe_python: str, tmp_path: Path
):
    """MediaPipe has red first only: its colours would be the wrong way round."""
    plain = (colour_bundle / "models" / "float32.tflite").read_bytes()
    preprocess = Preprocess(width=16, height=16, channels="bgr")
    model = tmp_path / "bgr.tflite"
    model.write_bytes(with_metadata(plain, name="c", labels=LABELS, preprocess=preprocess))
    (found,) = mediapipe(mediapipe_python, [model], [])
    assert "Only RGB color space is supported" in found["error"]


def test_the_documented_script_names_large_photographs(
    bundle: Bundle, mediapipe_python: str, tmp_path: Path
):
    """Its resize is another than ours, so that scores are not asked to be equal."""
    text = (REPOSITORY / "docs" / "mediapipe.md").read_text(encoding="utf-8")
    script = tmp_path / "classify.py"
    script.write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    rng = np.random.default_rng(7)
    shown = [
        write_picture(tmp_path / f"{index}.jpg", photograph(index, rng, scale=15))
        for index in range(len(LABELS))
    ]
    done = subprocess.run(
        [mediapipe_python, script, bundle.folder, *shown],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(LABELS) ** 2
    for index, picture_path in enumerate(shown):
        first = next(line for line in lines if line.startswith(f"{picture_path}: "))
        assert first.removeprefix(f"{picture_path}: ").rsplit(" ", 1)[0] == LABELS[index]
