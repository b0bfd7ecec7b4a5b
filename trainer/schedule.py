"""The learning rate of each step of a stage."""

from __future__ import annotations

import math
from typing import Any

from trainer.architectures import Stage
from trainer.keras_quiet import keras
from trainer.recipe import Recipe

ops = keras.ops

# The last steps of a stage learn at this share of its learning rate.
LAST_SHARE = 0.02
# What `plateau` does to the rate, after this share of the stage's patience.
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.3, 1 / 3


class StageSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The rate by the number of steps done in the stage, as the optimizer counts them.

    It depends on nothing else, so a resumed run needs no memory of it. On CIFAR-10 a cosine learnt
    as well as a rate that falls when the validation loss stands still (56.7 and 56.9 %).
    """

    def __init__(self, stage: Stage, recipe: Recipe, *, steps_per_epoch: int) -> None:
        self._stage = stage
        self._falls = recipe.schedule == "cosine"
        self._steps_per_epoch = steps_per_epoch
        # A warm-up as long as the stage would never come to learn.
        self._warmup = min(recipe.warmup, stage.epochs / 2)

    def __call__(self, step: Any) -> Any:
        done = ops.cast(step, "float32") / self._steps_per_epoch
        rate = ops.convert_to_tensor(self._stage.learning_rate, "float32")
        if self._warmup:
            one_step = 1 / self._steps_per_epoch
            rate = rate * ops.minimum(1.0, (done + one_step) / self._warmup)
        if self._falls:
            length = self._stage.epochs - self._warmup
            share = ops.clip((done - self._warmup) / length, 0.0, 1.0)
            rate = rate * ops.maximum(LAST_SHARE, (1 + ops.cos(math.pi * share)) / 2)
        return rate

    def middle(self, epoch: int) -> float:
        """The rate in the middle of an epoch, counted from 0 within the stage."""
        return float(self((epoch + 0.5) * self._steps_per_epoch))

    def get_config(self) -> dict[str, Any]:
        """Nothing: it is made anew for each stage."""
        return {}


class SweepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Each step's rate larger than the one before by the same factor."""

    def __init__(self, low: float, high: float, steps: int) -> None:
        self._low, self._growth = low, math.log(high / low) / max(1, steps - 1)

    def __call__(self, step: Any) -> Any:
        return self._low * ops.exp(self._growth * ops.cast(step, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Nothing: it is made anew for each sweep."""
        return {}


def plateau_scale(scale: float, *, waited: int, patience: int) -> float:
    """What `plateau` makes of the rate's scale after an epoch; not below `LAST_SHARE`."""
    every = max(1, round(patience * PLATEAU_PATIENCE))
    if waited and waited % every == 0:
        return max(LAST_SHARE, scale * PLATEAU_FACTOR)
    return scale
