"""Pictures a second while training on a GPU: edgeproof on JAX against timm on PyTorch.

    KERAS_BACKEND=jax python benchmarks/gpu_training.py [--batch 256] [--steps 60]

MobileNetV2 and ResNet50 at 224 x 224 in bfloat16, the same GPU and batch, each way in a process of
its own: a GPU's memory is not shared. timm gets channels-last memory, autocast and torch.compile.

    edgeproof   decoded pictures from the host, the article's warp, forward, backward, Adam
    ready       the same without fetching and varying: what the model itself costs
    timm        one ready batch on the GPU, forward, backward, Adam

Where `edgeproof` is near `ready`, the input pipeline is not the limit. Wants
`pip install '.[train,jax]' 'jax[cuda12]' torch timm`. This script has not been run on a GPU by its
authors yet; on a CPU its ways can be tried with --side 64 --batch 8 --steps 3.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

MODELS = {"mobilenet_v2": "mobilenetv2_100", "resnet50": "resnet50"}
CLASSES, PICTURES = 1000, 2048


def per_second(step: Callable[[], None], batch: int, steps: int) -> float:
    """Args: step: ends when its work is done."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return batch * steps / (time.perf_counter() - began)


def edgeproof_rate(name: str, options: argparse.Namespace, *, varied: bool) -> float:
    import numpy as np

    from trainer.architectures import ARCHITECTURES, ModelSpec, Stage
    from trainer.augment import AUGMENTATIONS
    from trainer.batches import LearningBatches, fed
    from trainer.folders import Picture
    from trainer.learning_model import compiled
    from trainer.pictures import Pixels
    from trainer.precision import learner_of
    from trainer.recipe import Recipe
    from trainer.schedule import StageSchedule

    count = max(PICTURES, options.batch) if varied else options.batch
    rng = np.random.default_rng(0)
    store = rng.integers(0, 256, (count, options.side, options.side, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, count)
    pictures = tuple(Picture(f"{i}.png", int(label)) for i, label in enumerate(labels))
    pixels = Pixels(pictures, store, np.arange(count), labels)
    recipe = Recipe(precision="bfloat16", schedule="constant")
    spec = ModelSpec((options.side, options.side), CLASSES, 1.0, "none")
    core = learner_of(ARCHITECTURES[name].build(spec), "bfloat16")
    stage = Stage("benchmark", "all", 1000, 1e-3, 1000)
    schedule = StageSchedule(stage, recipe, steps_per_epoch=options.steps)
    warp = AUGMENTATIONS["article"] if varied else None
    model = compiled(core, stage, recipe, warp, seed=0, schedule=schedule)

    def epoch(number: int, steps: int) -> None:
        batches = LearningBatches(pixels, options.batch, key=(0, number), steps=steps)
        model.fit(fed(batches), shuffle=False, verbose=0)

    epoch(0, 5)  # compiles
    return per_second(lambda: epoch(1, options.steps), options.batch * options.steps, 1)


def timm_rate(name: str, options: argparse.Namespace) -> float:
    import timm
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm.create_model(MODELS[name], num_classes=CLASSES)
    model = torch.compile(model.to(device, memory_format=torch.channels_last).train())
    optimizer = torch.optim.Adam(model.parameters())
    images = torch.randn(options.batch, 3, options.side, options.side, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (options.batch,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    def run(steps: int) -> None:
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    run(5)  # compiles
    return per_second(lambda: run(options.steps), options.batch * options.steps, 1)


def measured(way: str, name: str, options: argparse.Namespace) -> float:
    if way == "timm":
        return timm_rate(name, options)
    return edgeproof_rate(name, options, varied=way == "edgeproof")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["edgeproof", "ready", "timm"])
    parser.add_argument("--one", nargs=2, metavar=("WAY", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measured(*options.one, options))
        return
    sizes = [f"--{k}={getattr(options, k)}" for k in ("batch", "steps", "side")]
    print("| model | way | pictures/s, each round |\n| --- | --- | ---: |")
    for name in MODELS:
        for way in options.ways:
            command = [sys.executable, __file__, "--one", way, name, *sizes]
            rates = []
            for _ in range(options.rounds):
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=dict(os.environ)
                )
                rates.append(float(done.stdout.split()[-1]))
            print(f"| {name} | {way} | {', '.join(f'{rate:.0f}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
