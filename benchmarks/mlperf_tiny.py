"""Convert two published Keras 2 models and hold our files against the authors' own int8 files.

    python benchmarks/mlperf_tiny.py DATA --out docs/mlperf_tiny.md

DATA holds `models/mlperf_tiny` (ResNet8 and MobileNetV1 of MLPerf Tiny: .h5, float and int8
.tflite) and real photographs: `datasets/` (cifar10, cats_vs_dogs, hymenoptera) and `images/`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.conversion import ConvertOptions
from converters.foreign import taking_pixels
from converters.keras2 import load_h5
from converters.prove import reference_probabilities
from converters.quantisation_plan import QuantisationPlan
from converters.rehearsal import Rehearsal, make_best
from converters.run_folder import Photographs, load_photographs
from converters.subject import REHEARSAL_PICTURES
from converters.variants import RECIPES, Ingredients, Recipe
from edge_runtime.engines import installed_engines, load_engine
from edge_runtime.head import Head
from edge_runtime.intervals import mcnemar_p
from edge_runtime.parity import compare
from edge_runtime.preprocess import Preprocess

MODELS = "models/mlperf_tiny"
HEAD = Head(kind="softmax")
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclass(frozen=True)
class Case:
    """One published model.

    Attributes:
        h5, float_tflite, int8_tflite: the authors' files.
        scale: what the authors multiplied pixels with.
        held_out, calibration: folders of pictures; every folder below them is looked through.
        labelled: whether the folders of `held_out` are the labels.
    """

    title: str
    h5: str
    float_tflite: str
    int8_tflite: str
    side: int
    scale: float
    labels: tuple[str, ...]
    held_out: tuple[str, ...]
    calibration: tuple[str, ...]
    labelled: bool
    remark: str


CASES = (
    Case(
        title="ResNet8 (CIFAR-10)",
        h5="pretrainedResnet.h5",
        float_tflite="pretrainedResnet.tflite",
        int8_tflite="pretrainedResnet_quant.tflite",
        side=32,
        scale=1.0,
        labels=CIFAR10,
        held_out=("datasets/cifar10/test",),
        calibration=("datasets/cifar10/train",),
        labelled=True,
        remark="The pictures are JPEG copies, on which the published float model is below the 85 % "
        "that it reaches on the originals: what counts is the distance from the float model. p is "
        "the chance of so unequal a split of changed answers between a file and the authors' int8 "
        "if neither were better (McNemar).",
    ),
    Case(
        title="MobileNetV1 0.25 (visual wake words)",
        h5="vww_96.h5",
        float_tflite="vww_96_float.tflite",
        int8_tflite="vww_96_int8.tflite",
        side=96,
        scale=1 / 255,
        labels=("no person", "person"),
        held_out=(
            *("datasets/cats_vs_dogs/val", "datasets/hymenoptera/val"),
            *("images/coral", "images/imageio", "images/jetson"),
        ),
        calibration=("datasets/cats_vs_dogs/train", "datasets/hymenoptera/train"),
        labelled=False,
        remark="Not the photographs of visual wake words, and nobody has labelled them for "
        "persons: no accuracy can be told, only how far a file is from the float Keras model.",
    ),
)


def pictures(data: Path, case: Case, folders: tuple[str, ...], limit: int) -> Photographs:
    """Photographs as the model's input; without labels their label is 0 and means nothing."""
    entries = []
    for folder in folders:
        for file in sorted(f for f in (data / folder).rglob("*.*") if f.is_file()):
            label = case.labels.index(file.parent.name) if case.labelled else 0
            entries.append((file.relative_to(data).as_posix(), label))
    preprocess = Preprocess(width=case.side, height=case.side)
    return load_photographs(data, entries, preprocess, limit=limit, seed=0, description=folders[0])


def published(file: Path, pixels: np.ndarray, scale: float) -> np.ndarray:
    """What an authors' TFLite file answers: float32, (pictures, labels)."""
    engine = load_engine(installed_engines("tflite")[0], file)
    inputs = pixels.astype(np.float32) * scale
    if engine.input.scale:
        levels = np.round(inputs / engine.input.scale) + engine.input.zero_point
        limits = np.iinfo(engine.input.dtype)
        inputs = np.clip(levels, limits.min, limits.max).astype(engine.input.dtype)
    return engine.dequantize(engine.infer(inputs))


def attempts(
    ingredients: Ingredients, default: QuantisationPlan, rehearsal: Rehearsal, scratch: Path
) -> Iterator[tuple[str, Recipe, QuantisationPlan]]:
    """Every variant as it comes; int8 by three ways of calibration, and by every scheme of ONNX."""
    for recipe in RECIPES:
        if recipe.precision != "int8":
            yield recipe.name, recipe, default
            continue
        schemes = ("s8s8", "u8s8", "symmetric") if recipe.format == "onnx" else ("s8s8",)
        for scheme in schemes:
            name = f"{recipe.name} {scheme}" if recipe.format == "onnx" else recipe.name
            plan = replace(default, scheme=scheme)
            file = scratch / f"rehearsed.{recipe.format}"
            kept, _ = make_best(recipe, ingredients, plan, rehearsal, file)
            for method in ("minmax", "percentile", "mse"):
                tried = replace(plan, method=method)
                mark = " **(kept)**" if tried == kept else ""
                yield f"{name}, {tried.calibration}{mark}", recipe, tried


def rows(data: Path, case: Case, scratch: Path) -> Iterator[list[str]]:
    """The table's lines: name, accuracy, p, agreement, errors, KL divergence, size."""
    folder = data / MODELS
    held_out = pictures(data, case, case.held_out, limit=100_000)
    default = ConvertOptions().plan()
    model = taking_pixels(load_h5(folder / case.h5), scale=case.scale)
    reference = reference_probabilities(model, HEAD, held_out, lambda _: None)
    authors = published(folder / case.int8_tflite, held_out.inputs, case.scale)

    def line(name: str, answers: np.ndarray, size: int) -> list[str]:
        parity = compare(reference, answers, held_out.labels if case.labelled else None)
        accuracy, p = "", ""
        if case.labelled:
            accuracy = f"{parity.accuracy:.1%}"
            before = authors.argmax(1) == held_out.labels
            after = answers.argmax(1) == held_out.labels
            p = f"{mcnemar_p(int((before & ~after).sum()), int((after & ~before).sum())):.2f}"
        print(name, accuracy, f"{parity.top1_agreement:.1%}", flush=True)
        return [
            name,
            accuracy,
            p,
            f"{parity.top1_agreement:.1%}",
            f"{parity.max_abs_error:.1e}",
            f"{parity.mean_abs_error:.1e}",
            f"{parity.kl_divergence:.1e}",
            f"{size / 1e3:.0f} kB",
        ]

    yield line("authors' Keras model", reference, (folder / case.h5).stat().st_size)
    for name, file in (("float", case.float_tflite), ("int8", case.int8_tflite)):
        answers = published(folder / file, held_out.inputs, case.scale)
        yield line(f"authors' {name} TFLite", answers, (folder / file).stat().st_size)
    calibration = pictures(data, case, case.calibration, limit=default.pictures)
    few = calibration.first(REHEARSAL_PICTURES)
    rehearsal = Rehearsal(few.inputs, reference_probabilities(model, HEAD, few, lambda _: None))
    ingredients = Ingredients(
        model=model,
        head=HEAD,
        name=Path(case.h5).stem,
        labels=case.labels,
        preprocess=Preprocess(width=case.side, height=case.side),
        pixels=calibration.inputs,
    )
    for name, recipe, plan in attempts(ingredients, default, rehearsal, scratch):
        file = scratch / f"model.{recipe.format}"
        file.write_bytes(recipe.file(ingredients, plan))
        yield line(name, our_answers(recipe, file, held_out.inputs), file.stat().st_size)


def our_answers(recipe: Recipe, file: Path, pixels: np.ndarray) -> np.ndarray:
    engine: Any = load_engine(installed_engines(recipe.format)[0], file)
    return np.concatenate([engine.dequantize(engine.infer(p[np.newaxis])) for p in pixels])


def table(data: Path, case: Case) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        lines = list(rows(data, case, Path(scratch)))
    samples = len(pictures(data, case, case.held_out, limit=100_000).inputs)
    head = ["file", "accuracy", "p", "same first label", "max error", "mean error", "KL", "size"]
    if not case.labelled:
        head, lines = drop(head), [drop(line) for line in lines]
    folders = ", ".join(f"`{folder}`" for folder in case.held_out)
    return [
        f"## {case.title}: `{case.h5}`",
        "",
        f"{samples} pictures of {folders}. {case.remark}",
        "",
        f"| {' | '.join(head)} |",
        f"| --- |{' ---: |' * (len(head) - 1)}",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
    ]


def drop(line: list[str]) -> list[str]:
    """Without accuracy and p, where nobody knows the right answers."""
    return [line[0], *line[3:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    default = ConvertOptions().plan()
    page = [
        "# Against published int8 files: MLPerf Tiny",
        "",
        "Made by `benchmarks/mlperf_tiny.py`; every number was measured in that run. Each model is "
        "read from the authors' Keras 2 file through tf_keras, gets the pixels' scaling inside, "
        f"and is quantised on {default.pictures} photographs. Errors are of probabilities, against "
        "the Keras model; KL is the mean divergence in nats. int8 is calibrated in three ways; the "
        "one that `edgeproof convert` keeps by itself, because it is nearer to the Keras model on "
        f"{REHEARSAL_PICTURES} calibration pictures, is marked.",
        "",
    ]
    for case in CASES:
        page += table(options.data, case)
    options.out.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
