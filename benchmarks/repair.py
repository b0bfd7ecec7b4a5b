"""Train models that int8 hurts, mend them, and write docs/repair.md.

    python benchmarks/repair.py DATA WORK --out docs/repair.md

DATA holds `datasets/` (hymenoptera, cifar10: class folders below train/ and val/ or test/) and
`weights/mobilenet_v2_0.35_224_no_top.weights.h5`. Runs and bundles go to WORK; a run that is there
already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.conversion import REPAIR_CALIBRATION, ConvertOptions, convert_subject
from converters.outcome import Outcome
from converters.subject import prepare
from edge_runtime.manifest import RepairStep

VARIANTS = ("tflite-int8", "tflite-dynamic", "tflite-int16x8", "onnx-int8")
WEIGHTS = "mobilenet_v2_0.35_224_no_top.weights.h5"
# Keras' 0.999 needs thousands of batches before a BatchNormalization knows its statistics.
MOMENTUM = 0.9
# int8 keeps all 256 levels of pixels only where 0 lies on one of them.
SCALE, OFFSET = 1 / 127.5, -128 / 127.5


def squeeze_excite(x: Any, name: str) -> Any:
    """Channels weighed by what they answer over the whole picture (Hu et al., CVPR 2018)."""
    from trainer.keras_quiet import keras

    layers, channels = keras.layers, x.shape[-1]
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    s = layers.Conv2D(max(channels // 8, 4), 1, activation="swish", name=f"{name}_reduce")(s)
    s = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_excite")(s)
    return layers.Multiply(name=f"{name}_weigh")([x, s])


def swish_conv(x: Any, filters: int, kernel: int, stride: int, name: str, act: bool = True) -> Any:
    """A convolution (depthwise where `filters` is 0), batch normalisation, and swish."""
    from trainer.keras_quiet import keras

    layers = keras.layers
    settings = {"strides": stride, "padding": "same", "use_bias": False, "name": name}
    if filters:
        x = layers.Conv2D(filters, kernel, **settings)(x)
    else:
        x = layers.DepthwiseConv2D(kernel, **settings)(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
    return layers.Activation("swish", name=f"{name}_swish")(x) if act else x


def swish_net(x: Any) -> Any:
    """EfficientNet's block (Tan and Le, ICML 2019) in a net for small pictures."""
    from trainer.keras_quiet import keras

    x = swish_conv(x, 16, 3, 2, "stem")
    blocks = ((1, 16, 1), (4, 24, 2), (4, 24, 1), (4, 40, 2), (4, 40, 1), (4, 80, 1), (4, 80, 1))
    for number, (expand, filters, stride) in enumerate(blocks):
        name, before = f"block{number}", x
        if expand > 1:
            x = swish_conv(x, before.shape[-1] * expand, 1, 1, f"{name}_expand")
        x = swish_conv(x, 0, 3, stride, f"{name}_depthwise")
        x = squeeze_excite(x, name)
        x = swish_conv(x, filters, 1, 1, f"{name}_project", act=False)
        if x.shape == before.shape:
            x = keras.layers.Add(name=f"{name}_add")([x, before])
    return swish_conv(x, 160, 1, 1, "head")


def mobilenet_v3(x: Any) -> Any:
    """Keras' MobileNetV3 small, from random weights."""
    from trainer.keras_quiet import keras

    body = keras.applications.MobileNetV3Small(
        input_tensor=x, include_top=False, weights=None, include_preprocessing=False
    )
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return body.output


@dataclass(frozen=True)
class Job:
    """One model.

    Attributes:
        body: its layers between scaled pixels and the pooled features; `None` where
            `edgeproof train` with `options` makes it.
    """

    name: str
    title: str
    dataset: str
    side: int
    epochs: int
    body: Callable[[Any], Any] | None
    options: str = ""


JOBS = (
    Job(
        "hymenoptera_mnv2",
        "MobileNetV2 of width 0.35, ants and bees",
        "hymenoptera",
        128,
        0,
        None,
        "--architecture mobilenet_v2 --alpha 0.35 --size 128 --epochs 16 --weights {weights}",
    ),
    Job("cifar10_swish", "EfficientNet-style, swish and SE", "cifar10", 32, 24, swish_net),
    Job("cifar10_mnv3", "MobileNetV3 small", "cifar10", 48, 16, mobilenet_v3),
)


def varied(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture mirrored or not, and moved by up to an eighth of its side."""
    side = pixels.shape[1]
    reach = side // 8
    around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(pixels, around, mode="reflect")
    made = np.empty_like(pixels)
    moves = rng.integers(0, 2 * reach + 1, (len(pixels), 2))
    mirrored = rng.random(len(pixels)) < 0.5
    for picture, (y, x) in enumerate(moves):
        view = padded[picture, y : y + side, x : x + side]
        made[picture] = view[:, ::-1] if mirrored[picture] else view
    return made


def train(job: Job, data: Path, run: Path) -> None:
    """Train from random weights, and write the run as `edgeproof train` does."""
    from converters.run_folder import load_photographs
    from edge_runtime.files import sha256_file
    from edge_runtime.preprocess import Preprocess
    from trainer.keras_quiet import keras

    keras.utils.set_random_seed(1)
    root = data / "datasets" / job.dataset
    labels = sorted(folder.name for folder in (root / "train").iterdir())
    listed = {
        split: [
            [file.relative_to(root).as_posix(), label]
            for label, name in enumerate(labels)
            for file in sorted((root / split / name).iterdir())
        ]
        for split in ("train", "test")
    }
    preprocess = Preprocess(width=job.side, height=job.side)
    entries = [(path, label) for path, label in listed["train"]]
    photographs = load_photographs(
        root, entries, preprocess, limit=len(entries), seed=0, description="training pictures"
    )
    image = keras.Input((job.side, job.side, 3), dtype="uint8", name="image")
    assert job.body is not None
    x = job.body(keras.layers.Rescaling(SCALE, offset=OFFSET, name="scale")(image))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Dense(len(labels), activation="softmax", name="probabilities")(x)
    model = keras.Model(image, x, name=job.name)
    batch, rng = 32, np.random.default_rng(0)
    steps = -(-len(entries) // batch)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, job.epochs * steps, warmup_target=3e-3, warmup_steps=2 * steps
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # XLA's depthwise gradients are slow on CPUs
    )
    for epoch in range(job.epochs):
        seen = model.fit(
            varied(photographs.inputs, rng), photographs.labels, batch_size=batch, verbose=0
        ).history
        print(f"{job.name} epoch {epoch + 1}: {seen['accuracy'][0]:.1%}", flush=True)
    run.mkdir(parents=True, exist_ok=True)
    model.save(run / "model.keras")
    record = {
        "schema_version": 1,
        "architecture": job.name,
        "labels": labels,
        "preprocess": preprocess.model_dump(),
        "head": {"kind": "softmax"},
        "model": {"path": "model.keras", "sha256": sha256_file(run / "model.keras")},
        "data": {"root": str(root), "held_out": "test", "val": [], **listed},
    }
    (run / "training.json").write_text(json.dumps(record))


def trained(job: Job, data: Path, work: Path) -> Path:
    """The run of a job; trained where it is not there yet."""
    run = work / "runs" / job.name
    if (run / "training.json").exists():
        return run
    if job.body is not None:
        train(job, data, run)
        return run
    options = shlex.split(job.options.format(weights=data / "weights" / WEIGHTS))
    command = ["train", str(data / "datasets" / job.dataset), "--out", str(run), "--resume"]
    subprocess.run([sys.executable, "-m", "edgeproof", *command, *options], check=True)
    return run


def repaired(run: Path, work: Path) -> Iterator[tuple[Outcome, float]]:
    """Each variant as repair leaves it, and the seconds it took to make, prove and mend it."""
    options = ConvertOptions(samples=1000, repair=True, overwrite=True)
    subject = prepare(
        run, data=None, samples=options.samples, calibration=REPAIR_CALIBRATION, seed=options.seed
    )
    for name in VARIANTS:
        start = time.perf_counter()
        one = replace(options, variants=(name,))
        outcome = convert_subject(subject, work / f"{run.name}_{name}.bundle", one).outcomes[0]
        yield outcome, time.perf_counter() - start


def section(job: Job, run: Path, work: Path) -> list[str]:
    """A model's part of the page."""
    summary, details = [], []
    for outcome, seconds in repaired(run, work):
        proof = outcome.proof
        assert proof is not None, outcome.problems
        first = outcome.repair[0].parity if outcome.repair else proof.parity
        last = outcome.repaired
        result = "keeps its gate as it comes"
        if outcome.repair:
            result = f"mended: {last.what}" if last else "not mended"
        summary.append(
            f"| {outcome.name} | {first.top1_agreement:.1%} | {proof.parity.top1_agreement:.1%} | "
            f"{result} | {len(outcome.repair)} | {seconds:.0f} s |"
        )
        if outcome.repair:
            details += ["", f"{outcome.name}, every step:", "", *steps(outcome.repair)]
        print(job.name, summary[-1], flush=True)
    reference = proof.parity
    return [
        f"## {job.title}",
        "",
        f"Trained model: {reference.reference_accuracy:.1%} of {reference.samples} held-out "
        f"pictures of `{job.dataset}` at {job.side} px.",
        "",
        "| variant | same answers before | after | repair | attempts | time |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
        *summary,
        *details,
        "",
    ]


def steps(taken: tuple[RepairStep, ...]) -> list[str]:
    """Every attempt with what it gains and costs against the first."""
    first = taken[0]
    lines = [
        "| step | same answers | accuracy drop | KL | size | latency | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for step in taken:
        parity = step.parity
        agreement = 100 * (parity.top1_agreement - first.parity.top1_agreement)
        gain = "" if step is first else f" ({agreement:+.1f})"
        size = "" if step is first else f" ({step.bytes / first.bytes - 1:+.0%})"
        time_ = "" if step is first else f" ({step.latency_ms / first.latency_ms - 1:+.0%})"
        end = "**shipped**" if step.chosen else "misses" if step.missed else "keeps its gate"
        lines.append(
            f"| {step.what} | {parity.top1_agreement:.1%}{gain} | "
            f"{100 * (parity.accuracy_drop or 0.0):.1f} points | {parity.kl_divergence:.1e} | "
            f"{step.bytes / 1e6:.2f} MB{size} | {step.latency_ms:.2f} ms{time_} | {end} |"
        )
    chosen = next((step for step in taken if step.chosen), None)
    if chosen and chosen.kept:
        lines += ["", f"Kept: {', '.join(f'`{layer}`' for layer in chosen.kept)}."]
    return lines


PAGE = """# Repair on models that int8 hurts

Made by `benchmarks/repair.py`; every number was measured in that run, on a virtual machine with two
cores: compare latencies with each other, not with a board's. Each model was trained on the real
pictures named, converted with `--repair` on up to 1,000 training pictures, and compared with the
Keras model on all held-out ones. KL is the mean divergence in nats; sizes and latencies in brackets
are against the first attempt.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, help="page to write; without it, models are trained")
    parser.add_argument("--only", help="name of one model")
    options = parser.parse_args()
    page = [PAGE]
    for job in JOBS:
        if options.only in (None, job.name):
            run = trained(job, options.data, options.work)
            if options.out:
                page += section(job, run, options.work)
    if options.out:
        options.out.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
