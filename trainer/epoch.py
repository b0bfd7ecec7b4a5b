"""One epoch: a pass through the pictures to learn from, and the answers to those to choose by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.errors import DivergedError
from trainer.pictures import Pixels
from trainer.team import ALONE, Team

if TYPE_CHECKING:
    import keras

# What a certainly wrong answer costs at most: Keras' own bound.
LEAST_PROBABILITY = 1e-7
# No training comes back from there; weights that have run away may never become NaN.
_MOST_LOSS = 1e6


def learn(
    model: keras.Model,
    train: Pixels,
    *,
    batch_size: int,
    key: tuple[int, int],
    weights: dict[int, float] | None,
    callbacks: list[Any],
    team: Team = ALONE,
) -> tuple[dict[str, float], list[np.ndarray]]:
    """One pass; nothing random in it depends on earlier epochs.

    Args:
        key: (seed, epoch).
        weights: of the classes.

    Returns:
        Loss and accuracy, and the core's weights as the last step left them. The core itself has
        their moving average, where the optimizer keeps one.

    Raises:
        DivergedError: when the loss is no longer finite after some batch, or beyond all measure.
    """
    from trainer.batches import LearningBatches, fed
    from trainer.keras_quiet import keras
    from trainer.learning_model import reseed

    last: list[np.ndarray] = []
    batches = LearningBatches(train, batch_size, key=key, team=team)

    class _Course(keras.callbacks.Callback):
        # Not before `fit`: what it does to build a model draws numbers, and only the first time.
        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            reseed(model, key)

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            loss = (logs or {}).get("loss", 0.0)
            if not math.isfinite(loss) or loss > _MOST_LOSS:
                raise DivergedError(
                    f"loss became {loss:.3g} in batch {batch + 1} of {len(batches)}"
                )

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            # `self.model`, not `model`: JAX' variables lag behind until Keras is asked this way.
            last.extend(self.model.core.get_weights())

    answer = model.fit(
        fed(batches),
        class_weight=weights,
        callbacks=[_Course(), *callbacks],
        shuffle=False,  # `batches` are shuffled by seed and epoch; Keras would do it by neither
        verbose=0,
    )
    return {name: float(values[0]) for name, values in answer.history.items()}, last


def answers(core: keras.Model, pixels: Pixels, batch_size: int) -> np.ndarray:
    """The core's own output for every picture: float32, (pictures, units)."""
    from trainer.batches import Batches, fed

    return np.asarray(core.predict(fed(Batches(pixels, batch_size)), verbose=0))


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """`val_loss` and `val_accuracy` of probabilities, (pictures, labels).

    Raises:
        DivergedError: when one is not finite.
    """
    if not np.isfinite(probabilities).all():
        raise DivergedError("an answer to the val pictures was no number at the end")
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "val_loss": float(-np.log(np.maximum(right, LEAST_PROBABILITY)).mean()),
        "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
    }


def class_weights(labels: np.ndarray) -> dict[int, float] | None:
    """Weights that let every class count the same; `None` where all are equally many."""
    counts = np.bincount(labels)
    if (counts == counts[0]).all():
        return None
    return {i: len(labels) / (len(counts) * max(1, int(n))) for i, n in enumerate(counts)}
