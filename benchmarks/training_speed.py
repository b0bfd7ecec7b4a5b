"""Pictures a second while training article_cnn with the article's augmentation, four ways.

    python benchmarks/training_speed.py DATA [--rounds 5] [--accuracy 20]

DATA holds train/ and val/ with class folders, such as cats_vs_dogs. All ways learn the same
model at 150 x 150 from batches of 32, in one process, one epoch of each in turn, so that whatever
else the machine does hits all of them alike; the first epoch of each is not counted.

    generator   ImageDataGenerator.flow_from_directory and fit: the article's own way
    dataset     image_dataset_from_directory and the same variations as Keras layers
    edgeproof   decoded once, one composed warp in the graph, in each precision
    alone       the model on one ready batch, again and again, in each precision

bfloat16 is measured where the processor has it (AVX512-BF16 or AMX), or with --bfloat16.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from edge_runtime.preprocess import Preprocess
from trainer.architectures import ARCHITECTURES, ModelSpec, Stage
from trainer.augment import AUGMENTATIONS
from trainer.batches import LearningBatches, steps_per_epoch
from trainer.dataset import Dataset, load_dataset
from trainer.learning_model import compiled
from trainer.precision import chosen_precision, learner_of
from trainer.recipe import Recipe
from trainer.schedule import StageSchedule

SIDE, BATCH, RATE = 150, 32, 3e-4
# Accuracy is the mean of so many epochs at the end.
LAST = 5
FOREVER = Stage("benchmark", "all", 1000, RATE, 1000)
# One epoch: takes its number, gives the pictures that it showed.
Epoch = Callable[[int], int]


def article_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return ARCHITECTURES["article_cnn"].build(ModelSpec((SIDE, SIDE), 1, 1.0, "none"))


def plain(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.Adam(RATE), "binary_crossentropy", metrics=["accuracy"])
    return model


def generator_way(data: Path) -> tuple[keras.Model, Epoch]:
    """As in the article; the model scales the pixels, so the generator does not."""
    image = tf.keras.preprocessing.image
    varied = image.ImageDataGenerator(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    flow = varied.flow_from_directory(
        data / "train", (SIDE, SIDE), batch_size=BATCH, class_mode="binary", seed=0
    )
    model = plain(article_model())

    def epoch(_: int) -> int:
        model.fit(flow, verbose=0)
        return flow.samples

    return model, epoch


def dataset_way(data: Path) -> tuple[keras.Model, Epoch]:
    found = keras.utils.image_dataset_from_directory(
        data / "train", label_mode="binary", image_size=(SIDE, SIDE), batch_size=BATCH, seed=0
    )
    layers = keras.layers
    vary = keras.Sequential(
        [
            layers.RandomRotation(40 / 360, fill_mode="nearest"),
            layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            layers.RandomShear(0.2, 0.2, fill_mode="nearest"),
            layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
            layers.RandomFlip("horizontal"),
        ]
    )
    batches = found.map(
        lambda images, labels: (tf.cast(vary(images, training=True), tf.uint8), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)
    model, count = plain(article_model()), len(found.file_paths)

    def epoch(_: int) -> int:
        model.fit(batches, verbose=0)
        return count

    return model, epoch


def edgeproof_way(dataset: Dataset, recipe: Recipe) -> tuple[keras.Model, Epoch]:
    core = learner_of(article_model(), recipe.precision)
    steps = steps_per_epoch(dataset.train, BATCH)
    schedule = StageSchedule(FOREVER, recipe, steps_per_epoch=steps)
    model = compiled(core, FOREVER, recipe, AUGMENTATIONS["article"], seed=0, schedule=schedule)

    def epoch(number: int) -> int:
        model.fit(LearningBatches(dataset.train, BATCH, key=(0, number)), shuffle=False, verbose=0)
        return steps * BATCH

    return core, epoch


def alone(dataset: Dataset, recipe: Recipe) -> tuple[keras.Model, Epoch]:
    """No pictures to fetch, nothing to vary: what the model itself costs."""
    model = plain(learner_of(article_model(), recipe.precision))
    images = tf.constant(dataset.train.inputs(slice(0, BATCH)))
    labels = tf.constant(dataset.train.labels[:BATCH, None])
    ready = tf.data.Dataset.from_tensors((images, labels))
    ready = ready.repeat(steps_per_epoch(dataset.train, BATCH))

    def epoch(_: int) -> int:
        model.fit(ready, verbose=0)
        return steps_per_epoch(dataset.train, BATCH) * BATCH

    return model, epoch


def measured(core: keras.Model, dataset: Dataset) -> tuple[float, float]:
    """Accuracy, and the mean loss (nats), on the val pictures."""
    answers = core.predict(dataset.val.inputs(slice(None)), verbose=0).ravel().astype(np.float64)
    right = np.where(dataset.val.labels == 1, answers, 1 - answers)
    return float((right > 0.5).mean()), float(-np.log(np.maximum(right, 1e-7)).mean())


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
        preprocess = Preprocess(width=SIDE, height=SIDE, fit="stretch")
        dataset = load_dataset(str(options.data), preprocess, seed=0, scratch=Path(scratch))
        measure(options, dataset)


def measure(options: argparse.Namespace, dataset: Dataset) -> None:
    float32 = Recipe(schedule="constant", precision="float32")
    recipes = [float32]
    if options.bfloat16 or chosen_precision("auto") == "bfloat16":
        recipes.append(replace(float32, precision="bfloat16"))
    ways = {"generator": generator_way(options.data), "dataset": dataset_way(options.data)}
    for recipe in recipes:
        ways[f"edgeproof {recipe.precision}"] = edgeproof_way(dataset, recipe)
        ways[f"alone {recipe.precision}"] = alone(dataset, recipe)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, (_, epoch) in ways.items():
            began = time.perf_counter()
            shown = epoch(number)
            if number:
                rates[name].append(shown / (time.perf_counter() - began))
    print_table(rates)
    learning = {name: way for name, way in ways.items() if not name.startswith("alone")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in learning}
    for number in range(options.rounds + 1, options.accuracy):
        for name, (core, epoch) in learning.items():
            epoch(number)
            if number >= options.accuracy - LAST:
                found[name].append(measured(core, dataset))
    if options.accuracy:
        # One epoch's accuracy on so few pictures jumps by five per cent from one to the next.
        print(
            f"\n{len(dataset.val)} val pictures, means of epochs {options.accuracy - LAST + 1} to "
            f"{options.accuracy}:"
        )
        for name, values in found.items():
            (right, loss), (spread, _) = np.mean(values, axis=0), np.std(values, axis=0)
            print(f"  {name}: accuracy {right:.1%} (deviation {spread:.1%}), loss {loss:.3f}")


def print_table(rates: dict[str, list[float]]) -> None:
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
