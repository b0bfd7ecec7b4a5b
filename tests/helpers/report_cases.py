"""Made-up conversions, for the report to tell of; and a page as its readers see it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.export_head import EXPORTED
from converters.gates import gates
from converters.outcome import Outcome
from converters.prove import Proof
from converters.run_folder import Photographs, TrainingRecord
from converters.subject import Subject
from converters.variants import RECIPES
from edge_runtime.manifest import (
    FileEntry,
    GoldenEntry,
    LayerNoise,
    Manifest,
    MatrixCell,
    RepairStep,
    Variant,
)
from edge_runtime.parity import compare

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOSTILE = ('<script>alert("a")</script>', 'a & b\' onerror="x"', "{{ 7 * 7 }}", "\u202etxt.exe")
# How far each variant's logits are from the model's, and its file's size and time.
NATURE = {
    "tflite-float32": (1e-6, 2_300_000, 3.1),
    "tflite-float16": (2e-3, 1_180_000, 3.0),
    "tflite-dynamic": (0.12, 690_000, 1.9),
    "tflite-int8": (0.6, 680_000, 1.2),
    "tflite-int16x8": (0.06, 720_000, 9.5),
    "onnx-float32": (1e-6, 2_250_000, 2.4),
    "onnx-float16": (2e-3, 1_150_000, 2.9),
    "onnx-int8": (1.6, 700_000, 2.2),
}


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def painted(labels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures of coloured blots on soft noise: about as large as JPEG as photographs are."""
    pictures = np.empty((len(labels), side, side, 3), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        coarse = rng.integers(40, 220, (8, 8, 3), dtype=np.uint8)
        rows = np.arange(side) * 8 // side
        picture[:] = coarse[rows][:, rows]
        picture[:] = cv2.GaussianBlur(picture, (0, 0), side / 20)
        picture += rng.integers(0, 24, picture.shape, dtype=np.uint8)
        hue = np.array([[[int(label) * 37 % 180, 220, 230]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
        x, y = (int(v) for v in rng.integers(side // 4, 3 * side // 4, 2))
        cv2.circle(picture, (x, y), side // 6, colour.tolist(), -1)
    return pictures


def a_subject(
    labels: Sequence[str] = TEN, samples: int = 200, side: int = 48, seed: int = 1
) -> tuple[Subject, np.ndarray]:
    """A subject and its model's logits: right about nine times in ten."""
    rng = np.random.default_rng(seed)
    truths = rng.permutation(np.arange(samples) % len(labels))
    logits = rng.normal(0, 1, (samples, len(labels)))
    logits[np.arange(samples), truths] += rng.normal(5.0, 2.2, samples)
    files = tuple(
        Path("photographs") / f"class {label}" / f"{n:04}.jpg" for n, label in enumerate(truths)
    )
    record = TrainingRecord.model_validate(
        {
            "schema_version": 1,
            "architecture": "mobilenet_v2",
            "labels": list(labels),
            "preprocess": {"width": side, "height": side},
            "head": {"kind": "softmax"},
            "model": {"path": "model.keras", "sha256": "a" * 64},
            "data": {"root": "photographs", "train": [], "val": [], "test": [], "held_out": "test"},
            "created": "2026-01-02T03:04:05+00:00",
        }
    )
    pictures = Photographs(files, painted(truths, side, rng), truths)
    calibration = Photographs((), np.empty((200, 1, 1, 3), np.uint8), np.zeros(200, np.int64))
    return Subject(Path("run"), record, None, pictures, calibration, probabilities(logits)), logits


def an_outcome(
    name: str, subject: Subject, answers: np.ndarray, *, shipped: bool | None = None
) -> Outcome:
    """A variant that answers so, judged as a conversion judges it."""
    recipe = next(r for r in RECIPES if r.name == name)
    parity = compare(subject.reference, answers, subject.held_out.labels)
    verdict = gates()[recipe.precision].judge(parity)
    _, size, latency = NATURE[name]
    engine = "litert 2.3.0" if recipe.format == "tflite" else "onnxruntime 1.32.0"
    return Outcome(
        recipe=recipe,
        proof=Proof(parity, verdict, answers, answers, engine, latency),
        file=Path("models") / f"{recipe.precision}.{recipe.format}",
        bytes=size,
        problems=verdict.missed,
        shipped=not verdict.missed if shipped is None else shipped,
    )


def outcomes_of(subject: Subject, logits: np.ndarray, scale: float = 1.0) -> list[Outcome]:
    """All eight variants."""
    rng = np.random.default_rng(7)
    return [
        an_outcome(
            n, subject, probabilities(logits + scale * noise * rng.normal(size=logits.shape))
        )
        for n, (noise, _, _) in NATURE.items()
    ]


def noise_of(layers: int, seed: int = 3) -> tuple[LayerNoise, ...]:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.normal(28, 9, layers))
    return (
        *(
            LayerNoise(
                layer=f"mobilenetv2_0.35_224/block_{n}_depthwise_relu",
                operator="DEPTHWISE_CONV_2D" if n % 2 else "CONV_2D",
                sqnr_db=float(level),
                own_db=float(level + abs(rng.normal(4, 3))),
            )
            for n, level in enumerate(levels)
        ),
        LayerNoise(layer="reshape", operator="RESHAPE", sqnr_db=None, own_db=None),
    )


def repair_steps(subject: Subject, logits: np.ndarray) -> tuple[RepairStep, ...]:
    rng = np.random.default_rng(11)
    tries = [
        ("as it comes", 1.6, (), 700_000, 2.2),
        ("calibrate on 1000 pictures", 1.5, (), 700_000, 2.2),
        ("calibrate by the middle 99.99 % of values", 1.1, (), 700_000, 2.25),
        ("calibrate by least entropy", 1.3, (), 700_000, 2.21),
        ("keep 1 layers in float32 (noisiest)", 0.9, ("block_1",), 731_000, 2.3),
        ("keep 2 layers in float32 (first)", 0.2, ("Conv1", "block_1"), 742_000, 2.6),
        ("keep 1 layers in float32 (fewer of them)", 0.1, ("Conv1",), 720_000, 2.5),
    ]
    steps = []
    for what, noise, kept, size, latency in tries:
        answers = probabilities(logits + noise * rng.normal(size=logits.shape))
        parity = compare(subject.reference, answers, subject.held_out.labels)
        steps.append(
            RepairStep(
                what=what,
                kept=kept,
                parity=parity,
                missed=gates()["int8"].judge(parity).missed,
                bytes=size,
                latency_ms=latency,
            )
        )
    best = max(range(len(steps)), key=lambda n: steps[n].parity.top1_agreement)
    steps[best] = steps[best].model_copy(update={"chosen": True})
    return tuple(steps)


def matrix_of(outcomes: Sequence[Outcome], subject: Subject) -> tuple[MatrixCell, ...]:
    """As where one engine is not installed, one fails, one is slow and one answers wrongly."""
    engines = {
        "tflite": ["litert", "tflite-runtime", "litert-builtin", "litert-reference"],
        "onnx": ["onnxruntime", "onnx-reference", "opencv-dnn"],
    }
    cells = []
    for outcome in (o for o in outcomes if o.shipped and o.proof):
        assert outcome.proof is not None
        for engine in engines[outcome.recipe.format]:
            cell: dict[str, Any] = {"variant": outcome.name, "engine": engine}
            answers, count = outcome.proof.probabilities[:32], 32
            if engine == "tflite-runtime":
                cell["reason"] = "not installed (pip install 'edgeproof[legacy]')"
            elif engine == "opencv-dnn" and outcome.recipe.precision == "float16":
                cell["reason"] = "<error> (-215:Assertion failed) type == CV_32F in 'forward'"
            else:
                if engine == "onnx-reference":
                    count = 6
                elif engine == "opencv-dnn" and outcome.recipe.precision == "int8":
                    answers = answers[:, ::-1]
                parity = compare(subject.reference[:count], answers[:count])
                cell |= {"parity": parity, "version": "2.3.0", "latency_ms": 1.5}
                if engine == "litert":
                    cell["version"] += " built-in" if "16x8" in outcome.name else " XNNPACK"
            cells.append(MatrixCell(**cell))
    return tuple(cells)


def a_manifest(
    outcomes: Sequence[Outcome], subject: Subject, *, name: str = "pets", matrix: bool = True
) -> Manifest:
    def entry(path: str, size: int = 1000) -> FileEntry:
        return FileEntry(path=path, bytes=size, sha256=hashlib.sha256(path.encode()).hexdigest())

    variants = tuple(
        Variant(
            format=o.recipe.format,
            precision=o.recipe.precision,
            file=entry(f"models/{o.recipe.precision}.{o.recipe.format}", o.bytes),
            parity=o.proof.parity,
            missed=o.problems,
            unsure=o.unsure,
            tolerance=gates()[o.recipe.precision].tolerance,
            latency_ms=o.proof.latency_ms,
            engine=o.proof.engine,
            scheme="s8s8" if o.name == "onnx-int8" else None,
            noise=o.noise,
            repair=o.repair,
        )
        for o in outcomes
        if o.shipped and o.proof
    )
    return Manifest(
        schema_version=2,
        name=name,
        task="classification",
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        head=EXPORTED,
        variants=variants,
        golden=GoldenEntry(
            frames=(entry("golden/frames/000.jpg"), entry("golden/frames/001.jpg")),
            tensors=entry("golden/tensors.npz"),
        ),
        matrix=matrix_of(outcomes, subject) if matrix else (),
        sources=(entry("c/model_data.cc"), entry("c/model_data.h")),
        provenance={
            "created": "2026-01-02T03:04:05+00:00",
            "command": f"edgeproof convert runs/{name} --out {name}.bundle --explain --repair",
            "versions": {"edgeproof": "0.2.0", "tensorflow": "2.21.0"},
            "machine": {
                "architecture": "x86_64",
                "cpu": "A CPU",
                "os": "Linux",
                "python": "3.11.9",
            },
            "training": {
                "run": "pets",
                "architecture": "mobilenet_v2",
                "created": "2026-01-02T03:04:05+00:00",
                "model_sha256": "b" * 64,
            },
            "pictures": {"held_out": 200, "held_out_set": "test", "calibration": 200},
        },
    )


def realistic(
    labels: Sequence[str] = TEN, samples: int = 200, side: int = 48
) -> tuple[Manifest, list[Outcome], Subject]:
    """Eight variants: some cannot tell, int8 TFLite misses, int8 ONNX was mended."""
    subject, logits = a_subject(labels, samples, side)
    outcomes = outcomes_of(subject, logits)
    for index, outcome in enumerate(outcomes):
        if outcome.name == "tflite-int8":
            outcomes[index] = replace(outcome, noise=noise_of(30))
        if outcome.name == "onnx-int8":
            steps = repair_steps(subject, logits)
            rng = np.random.default_rng(12)
            mended = probabilities(logits + 0.01 * rng.normal(size=logits.shape))
            made = an_outcome("onnx-int8", subject, mended)
            outcomes[index] = replace(made, repair=steps, noise=noise_of(20, seed=4), bytes=720_000)
    return a_manifest(outcomes, subject), outcomes, subject


class Outline(HTMLParser):
    """What a page is made of; fails on tags that do not close."""

    VOID = frozenset({"meta", "img", "br", "input", "source", "link", "hr", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def squeezed(text: str) -> str:
    return " ".join(text.split())
