"""How people train the article's network: TensorFlow as it comes, a process of its own.

    python benchmarks/usual_training.py DATA generator|dataset

For `training_speed.py`, which asks in lines: `epoch` learns one and answers how many pictures it
showed and the seconds; `accuracy` answers that and the loss on the val pictures.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.preprocess import Preprocess

if TYPE_CHECKING:
    import keras

    from trainer.dataset import Dataset

SIDE, BATCH, RATE = 150, 32, 3e-4
PREPROCESS = Preprocess(width=SIDE, height=SIDE, fit="stretch")


def article_model() -> keras.Model:
    import keras

    from trainer.architectures import ARCHITECTURES, ModelSpec

    keras.utils.set_random_seed(0)
    return ARCHITECTURES["article_cnn"].build(ModelSpec((SIDE, SIDE), 1, 1.0, "none"))


def plain(model: keras.Model) -> keras.Model:
    import keras

    model.compile(keras.optimizers.Adam(RATE), "binary_crossentropy", metrics=["accuracy"])
    return model


def generator_way(data: Path) -> tuple[keras.Model, Callable[[], int]]:
    """As in the article; the model scales the pixels, so the generator does not."""
    import tensorflow as tf

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

    def epoch() -> int:
        model.fit(flow, verbose=0)
        return flow.samples

    return model, epoch


def dataset_way(data: Path) -> tuple[keras.Model, Callable[[], int]]:
    import keras
    import tensorflow as tf

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

    def epoch() -> int:
        model.fit(batches, verbose=0)
        return count

    return model, epoch


def measured(core: keras.Model, dataset: Dataset) -> tuple[float, float]:
    """Accuracy, and the mean loss (nats), on the val pictures."""
    answers = core.predict(dataset.val.inputs(slice(None)), verbose=0).ravel().astype(np.float64)
    right = np.where(dataset.val.labels == 1, answers, 1 - answers)
    return float((right > 0.5).mean()), float(-np.log(np.maximum(right, 1e-7)).mean())


WAYS = {"generator": generator_way, "dataset": dataset_way}


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Before anything of edgeproof, which sets TensorFlow's switches when it imports it.
    import tensorflow as tf

    tf.nn.relu(tf.zeros((1, 1)))  # it has read them now
    from trainer.dataset import load_dataset

    data, way = Path(sys.argv[1]), sys.argv[2]
    answers, sys.stdout = sys.stdout, sys.stderr  # Keras prints what it found
    model, epoch = WAYS[way](data)
    val = None
    for line in sys.stdin:
        if line.strip() == "epoch":
            began = time.perf_counter()
            shown = epoch()
            said = f"{shown} {time.perf_counter() - began}"
        else:
            val = val or load_dataset(str(data), PREPROCESS, seed=0, scratch=Path(os.devnull))
            said = "{} {}".format(*measured(model, val))
        print(said, file=answers, flush=True)


if __name__ == "__main__":
    main()
