"""Pictures a second while training article_cnn with the article's augmentation, four ways.

    python benchmarks/training_speed.py DATA [--rounds 5] [--accuracy 20]

DATA holds train/ and val/ with class folders, such as cats_vs_dogs. All ways learn the same
model at 150 x 150 from batches of 32, one epoch of each in turn, so that whatever else the machine
does hits all of them alike; the first epoch of each is not counted.

    generator   ImageDataGenerator.flow_from_directory and fit: the article's own way
    dataset     image_dataset_from_directory and the same variations as Keras layers
    edgeproof   decoded once, one composed warp in the graph, in each precision
    alone       the model on one ready batch, again and again, in each precision

The first two learn in processes of their own, with TensorFlow as it comes; the others with the
switches that edgeproof sets. bfloat16 is measured where the processor has it (AVX512-BF16 or AMX),
or with --bfloat16.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from usual_training import BATCH, PREPROCESS, RATE, WAYS, article_model, measured, plain

from trainer.architectures import Stage
from trainer.augment import AUGMENTATIONS
from trainer.batches import LearningBatches, fed, steps_per_epoch
from trainer.dataset import Dataset, load_dataset
from trainer.keras_quiet import keras
from trainer.learning_model import compiled
from trainer.precision import chosen_precision, learner_of
from trainer.recipe import Recipe
from trainer.schedule import StageSchedule

# Accuracy is the mean of so many epochs at the end.
LAST = 5
FOREVER = Stage("benchmark", "all", 1000, RATE, 1000)


class Way(Protocol):
    """One way to learn the model."""

    def epoch(self, number: int) -> tuple[float, float]:
        """Learns one; gives how many pictures it showed, and the seconds."""

    def measured(self) -> tuple[float, float]:
        """Accuracy, and the mean loss (nats), on the val pictures."""


class Usual:
    """A way of others, in a process of its own."""

    def __init__(self, data: Path, way: str) -> None:
        script = Path(__file__).with_name("usual_training.py")
        self._process = subprocess.Popen(
            [sys.executable, script, data, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"},
        )

    def epoch(self, number: int) -> tuple[float, float]:
        return self._ask("epoch")

    def measured(self) -> tuple[float, float]:
        return self._ask("accuracy")

    def _ask(self, question: str) -> tuple[float, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(question, file=self._process.stdin, flush=True)
        one, other = map(float, self._process.stdout.readline().split())
        return one, other


class Ours:
    """A way in this process."""

    def __init__(self, core: keras.Model, dataset: Dataset, learn: Callable[[int], object]) -> None:
        """Args: learn: one epoch, by its number."""
        self._core, self._dataset, self._learn = core, dataset, learn

    def epoch(self, number: int) -> tuple[float, float]:
        began = time.perf_counter()
        self._learn(number)
        shown = steps_per_epoch(self._dataset.train, BATCH) * BATCH
        return shown, time.perf_counter() - began

    def measured(self) -> tuple[float, float]:
        return measured(self._core, self._dataset)


def edgeproof(dataset: Dataset, recipe: Recipe) -> Ours:
    core = learner_of(article_model(), recipe.precision)
    steps = steps_per_epoch(dataset.train, BATCH)
    schedule = StageSchedule(FOREVER, recipe, steps_per_epoch=steps)
    model = compiled(core, FOREVER, recipe, AUGMENTATIONS["article"], seed=0, schedule=schedule)

    def learn(number: int) -> None:
        batches = LearningBatches(dataset.train, BATCH, key=(0, number))
        model.fit(fed(batches), shuffle=False, verbose=0)

    return Ours(core, dataset, learn)


def alone(dataset: Dataset, recipe: Recipe) -> Ours:
    """No pictures to fetch, nothing to vary: what the model itself costs."""
    import tensorflow as tf

    model = plain(learner_of(article_model(), recipe.precision))
    images = tf.constant(dataset.train.inputs(slice(0, BATCH)))
    labels = tf.constant(dataset.train.labels[:BATCH, None])
    options = tf.data.Options()
    options.autotune.enabled = False
    ready = tf.data.Dataset.from_tensors((images, labels)).with_options(options)
    ready = ready.repeat(steps_per_epoch(dataset.train, BATCH))
    return Ours(model, dataset, lambda _: model.fit(ready, verbose=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true", help="also where it is emulated")
    parser.add_argument(
        "--accuracy",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="and accuracy after so many: at least 6 more than --rounds",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = load_dataset(str(options.data), PREPROCESS, seed=0, scratch=Path(scratch))
        measure(options, dataset)


def measure(options: argparse.Namespace, dataset: Dataset) -> None:
    float32 = Recipe(schedule="constant", precision="float32")
    recipes = [float32]
    if options.bfloat16 or chosen_precision("auto") == "bfloat16":
        recipes.append(replace(float32, precision="bfloat16"))
    ways: dict[str, Way] = {name: Usual(options.data, name) for name in WAYS}
    for recipe in recipes:
        ways[f"edgeproof {recipe.precision}"] = edgeproof(dataset, recipe)
        ways[f"alone {recipe.precision}"] = alone(dataset, recipe)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, way in ways.items():
            shown, seconds = way.epoch(number)
            if number:
                rates[name].append(shown / seconds)
    print_table(rates)
    if options.accuracy:
        learning = {name: way for name, way in ways.items() if not name.startswith("alone")}
        compare_accuracy(learning, options.rounds + 1, options.accuracy, len(dataset.val))


def compare_accuracy(ways: Mapping[str, Way], first: int, end: int, pictures: int) -> None:
    """Learn on, and print what the last epochs' models know."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(first, end):
        for name, way in ways.items():
            way.epoch(number)
            if number >= end - LAST:
                found[name].append(way.measured())
    # One epoch's accuracy on so few pictures jumps by five per cent from one to the next.
    print(f"\n{pictures} val pictures, means of epochs {end - LAST + 1} to {end}:")
    for name, values in found.items():
        (right, loss), (spread, _) = np.mean(values, axis=0), np.std(values, axis=0)
        print(f"  {name}: accuracy {right:.1%} (deviation {spread:.1%}), loss {loss:.3f}")


def print_table(rates: Mapping[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print("| way | pictures/s | from - to | against the generator | of the model alone |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, median in medians.items():
        limit = medians.get(f"alone {name.split()[-1]}", medians["alone float32"])
        low, high = min(rates[name]), max(rates[name])
        print(
            f"| {name} | {median:.0f} | {low:.0f} - {high:.0f} | "
            f"{median / medians['generator']:.2f} | {median / limit:.2f} |"
        )


if __name__ == "__main__":
    main()
