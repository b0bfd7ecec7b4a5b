"""How far MediaPipe's own resize takes a bundle's answers from edgeproof's.

    sh scripts/make_peer_envs.sh .peers mediapipe
    python benchmarks/mediapipe_resize.py pets.bundle photos/ [--pictures 20] [--seed 0]

Each picture is shown to MediaPipe three times: as it is, framed to the input's aspect ratio as in
docs/mediapipe.md, and already of the input's size. Mean and largest difference of a probability
from edgeproof's own are shown for each TFLite file of the bundle, and on how many pictures the
first label stays the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from edge_runtime import Bundle
from edge_runtime.engines import load_engine
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess

REPOSITORY = Path(__file__).parents[1]
PYTHON = REPOSITORY / ".peers" / "mediapipe" / "bin" / "python"
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

# Reads {"model": ..., "pictures": [...]} and answers each picture's scores in the labels' order.
CLASSIFY = """
import json, sys
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
job = json.load(sys.stdin)
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=job["model"]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    answers = []
    for picture in job["pictures"]:
        found = classifier.classify(mp.Image.create_from_file(picture)).classifications[0]
        by_index = {category.index: category.score for category in found.categories}
        answers.append([by_index[index] for index in sorted(by_index)])
json.dump(answers, sys.stdout)
"""


def framed(picture: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """The picture padded or cut to the input's aspect ratio, at its own resolution."""
    height, width = picture.shape[:2]
    fitting_width = height * preprocess.width // preprocess.height
    fitting_height = width * preprocess.height // preprocess.width
    if preprocess.fit == "letterbox":
        x, y = max(0, fitting_width - width), max(0, fitting_height - height)
        sides = (y // 2, y - y // 2, x // 2, x - x // 2)
        return cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    if preprocess.fit == "crop":
        x, y = max(0, width - fitting_width), max(0, height - fitting_height)
        return picture[y // 2 : height - (y - y // 2), x // 2 : width - (x - x // 2)]
    return picture


def classify(python: str, model: Path, pictures: list[Path]) -> np.ndarray:
    """MediaPipe's scores, (pictures, labels)."""
    job = json.dumps({"model": str(model), "pictures": [str(picture) for picture in pictures]})
    command = [python, "-c", CLASSIFY]
    done = subprocess.run(command, input=job, stdout=subprocess.PIPE, text=True, check=True)
    return np.array(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path, help="of photographs, searched to any depth")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    python = os.environ.get("EDGEPROOF_MEDIAPIPE_PYTHON", str(PYTHON))
    bundle = Bundle.open(options.bundle)
    preprocess = bundle.preprocess
    found = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(found), min(options.pictures, len(found)), replace=False)
    pictures = [decode_image(found[index]) for index in chosen]
    inputs = np.stack([preprocess(picture) for picture in pictures])
    rgb = preprocess.channels == "rgb"
    shown = {
        "as it is": pictures,
        "framed": [framed(picture, preprocess) for picture in pictures],
        "of the input's size": [pixels[..., ::-1] if rgb else pixels for pixels in inputs],
    }
    longest = [max(picture.shape[:2]) for picture in pictures]
    print(
        f"{len(pictures)} pictures, longest side {min(longest)} to {max(longest)} pixels; ", end=""
    )
    print(f"input {preprocess.width}x{preprocess.height}, {preprocess.fit}\n")
    print("| variant | shown to MediaPipe | mean | largest | same first label |")
    print("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for image in (image for images in shown.values() for image in images):
            files.append(Path(scratch) / f"{len(files)}.png")
            cv2.imwrite(str(files[-1]), image)
        for variant in (v for v in bundle.variants if v.format == "tflite"):
            model = bundle.checked_file(variant.file)
            engine = load_engine("litert", model)
            ours = engine.dequantize(engine.infer(inputs))
            theirs = classify(python, model, files).reshape(len(shown), *ours.shape)
            for kind, answers in zip(shown, theirs, strict=True):
                error = np.abs(answers - ours)
                same = (answers.argmax(axis=1) == ours.argmax(axis=1)).sum()
                print(f"| {variant.name} | {kind} | {error.mean():.4f} ", end="")
                print(f"| {error.max():.4f} | {same} of {len(ours)} |")


if __name__ == "__main__":
    main()
