"""Convert models of many origins and ages, and write what became of each as a table.

    python benchmarks/models.py DATA --out docs/models.md

DATA holds `models/` (Coral, MLPerf Tiny, TinyMaix, a Keras 2 model of JSON and weights),
`peer_suite/onnx_light` (ONNX topologies with constant weights), and the pictures in `datasets/`
and `images/`. Every model goes through the command line as a user's would.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier

REPOSITORY = Path(__file__).resolve().parents[1]
FLOAT = ("tflite-float32", "tflite-int8", "onnx-float32")
ONNX = ("onnx-float32", "onnx-int8")
CORAL_ANSWERS = {
    "cat.bmp": "Egyptian cat",
    "parrot.jpg": "macaw",
    "grace_hopper.bmp": "military uniform",
}
DOG_CAT = {"test_cat.jpg": "cat", "test_dog.jpg": "dog"}


@dataclass(frozen=True)
class Case:
    """One model, or several that are converted alike.

    Attributes:
        files: a pattern below DATA.
        pictures: folder below DATA, for `--calibrate`.
        options: what else a user types.
        variants: only these are made; empty for what edgeproof chooses.
        answers: what a published picture shows, by its name: the bundle must say so.
        shown_in: folder of those pictures.
    """

    files: str
    pictures: str
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    shown_in: str = ""


ONE_255 = ("--scale", "1/255")
CIFAR, MNIST = "datasets/cifar10/test", "datasets/mnist_png/test"
VWW = "images"  # of persons or not, nobody has labelled any here
CASES = (
    Case("models/coral/*.tflite", "images", (), (), tuple(CORAL_ANSWERS.items()), "images/coral"),
    Case("models/mlperf_tiny/pretrainedResnet.h5", CIFAR, ("--guess",), FLOAT),
    Case("models/mlperf_tiny/pretrainedResnet.tflite", CIFAR, ("--guess",), FLOAT),
    Case("models/mlperf_tiny/pretrainedResnet_quant.tflite", CIFAR),
    Case("models/mlperf_tiny/vww_96.h5", VWW, ONE_255, FLOAT),
    Case("models/mlperf_tiny/vww_96_float.tflite", VWW, ONE_255, FLOAT),
    Case("models/mlperf_tiny/vww_96_int8.tflite", VWW),
    Case("models/tinymaix/cifar10.h5", CIFAR, ("--guess",), FLOAT),
    Case("models/tinymaix/cifar10_f.tflite", CIFAR, ("--guess",), FLOAT),
    Case("models/tinymaix/cifar10_q.tflite", CIFAR),
    Case("models/tinymaix/mnist_*.h5", MNIST, ("--guess",), FLOAT),
    Case("models/tinymaix/mnist_dw_f.tflite", MNIST, ("--guess",), FLOAT),
    Case("models/tinymaix/mnist_dw_q.tflite", MNIST),
    Case(
        "models/ardamavi_dog_cat/model.json",
        "datasets/cats_vs_dogs/val",
        ("--guess",),
        FLOAT,
        tuple(DOG_CAT.items()),
        "models/ardamavi_dog_cat",
    ),
    Case("peer_suite/onnx_light/*.onnx", "images/coral", ("--scale", "1", "--samples", "8"), ONNX),
)


@dataclass(frozen=True)
class Row:
    """What became of one model."""

    model: str
    scaling: str
    made: str
    float_error: str
    int8_same: str
    accuracy: str
    answers: str
    said: str
    seconds: float


def rows(data: Path, scratch: Path, only: str) -> Iterator[Row]:
    for case in CASES:
        for file in sorted(data.glob(case.files)):
            if only in file.as_posix():
                row = converted(data, case, file, scratch / f"{file.stem}.bundle")
                print(row, flush=True)
                yield row


def converted(data: Path, case: Case, file: Path, out: Path) -> Row:
    """Convert one model as a user would, and look at the bundle."""
    command = [sys.executable, "-m", "edgeproof", "convert", str(file), "--out", str(out)]
    command += ["--calibrate", str(data / case.pictures), "--overwrite", *case.options]
    command += [part for name in case.variants for part in ("--variant", name)]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    seconds = time.perf_counter() - start
    if "Traceback" in done.stderr:
        print(done.stderr, file=sys.stderr)
    scaling = next((t.strip() for t in done.stdout.splitlines() if "scaling: " in t), "")
    name = file.relative_to(data).as_posix().removeprefix("models/").removeprefix("peer_suite/")
    ended = [t for t in done.stderr.splitlines() if t.startswith("edgeproof: ")]
    if "Traceback" in done.stderr:
        ended = [f"edgeproof: a bug: {done.stderr.splitlines()[-1]}"]
    said = ended[0].removeprefix("edgeproof: ").replace(f"{file}: ", "") if ended else ""
    said = said.replace(f"The others are in {out}. ", "")  # a scratch folder's name says nothing
    if not (out / "bundle.json").is_file():
        return Row(name, scaling, "none", "", "", "", "", said, seconds)
    bundle = Bundle.open(out)
    parities = {v.name: v.parity for v in bundle.variants}
    floats = [p.max_abs_error or 0.0 for n, p in parities.items() if n.endswith("float32")]
    int8 = [p.top1_agreement for n, p in parities.items() if n.endswith("int8")]
    known = [p.reference_accuracy for p in parities.values() if p.reference_accuracy is not None]
    return Row(
        name,
        scaling.removeprefix("scaling: "),
        ", ".join(parities),
        f"{max(floats):.1e}" if floats else "",
        f"{min(int8):.1%}" if int8 else "",
        f"{known[0]:.1%}" if known else "",
        shown(bundle, data / case.shown_in, dict(case.answers)),
        said,
        seconds,
    )


def shown(bundle: Bundle, folder: Path, answers: dict[str, str]) -> str:
    """How many of the pictures with published answers the bundle's first variant names so."""
    if not answers:
        return ""
    classifier = Classifier(bundle, use_pick=False)
    right = 0
    for name, wanted in answers.items():
        label = classifier.classify(cv2.imread(str(folder / name))).label
        right += wanted in label
    return f"{right} of {len(answers)}"


def page(found: list[Row]) -> str:
    head = (
        "model",
        "scaling of pixels",
        "made",
        "float: max error",
        "int8: same answers",
        "accuracy",
        "published answers",
        "what was said",
        "s",
    )
    lines = [
        "# Models from elsewhere: what becomes of each",
        "",
        "Made by `benchmarks/models.py`, through `edgeproof convert` with default settings but for "
        "the variants. Errors and answers are against the model itself on its own runtime, on real "
        "pictures; accuracy is the model's own, where the pictures are labelled (the CIFAR-10 ones "
        "are JPEG copies, on which these models are below their published figures). The ONNX files "
        "have constant weights: they show that the graph converts, not what it answers. The small "
        "MobileNets do not know all three published pictures themselves; their bundles answer as "
        "they do. Nobody has labelled the pictures for visual wake words' persons. Seconds "
        "were taken on a busy machine of two cores and say only what is quick and what is not.",
        "",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
    ]
    for row in found:
        cells = (
            f"`{row.model}`",
            row.scaling,
            row.made,
            row.float_error,
            row.int8_same,
            row.accuracy,
            row.answers,
            row.said,
            f"{row.seconds:.0f}",
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="convert the models whose path has this in it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        found = []
        for row in rows(options.data, Path(scratch), options.only):
            found.append(row)
            options.out.write_text(page(found), encoding="utf-8")  # so far


if __name__ == "__main__":
    main()
