"""The model while it learns: pictures varied and mixed in front, the loss behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.architectures import Stage
from trainer.augment import Augmentation
from trainer.keras_quiet import keras
from trainer.mixing import MixPictures
from trainer.recipe import Recipe
from trainer.schedule import StageSchedule
from trainer.warp import RandomWarp

ops = keras.ops


class LearningModel(keras.Model):
    """Takes `{"images", "labels"}`, since mixed pictures have mixed labels.

    Answers `{"answers", "targets"}`: the core's probabilities, and what they should be.
    """

    def __init__(
        self, core: keras.Model, recipe: Recipe, augmentation: Augmentation | None, *, seed: int
    ) -> None:
        super().__init__(name="learning")
        self.core = core
        self.units = core.output_shape[-1]
        self.varied = _variations(recipe, augmentation, seed)
        for layer in self.varied:
            layer.build((None, *core.input_shape[1:]))
        self.mixed = MixPictures(recipe.mixup, recipe.cutmix, seed=seed)

    def build(self, input_shape: Any) -> None:
        """Nothing: its parts are built. Keras would warn that it cannot know."""

    def call(self, batch: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        images, targets = batch["images"], self._targets(batch["labels"])
        if training:
            for layer in self.varied:
                images = layer(images, training=True)
            images, targets = self.mixed(images, targets)
            # Whatever varied them, the core gets levels, as from a camera.
            images = ops.cast(ops.clip(ops.round(ops.cast(images, "float32")), 0, 255), "uint8")
        return {"answers": self.core(images, training=training), "targets": targets}

    def _targets(self, labels: Any) -> Any:
        if self.units == 1:
            return ops.expand_dims(ops.cast(labels, "float32"), -1)
        return ops.one_hot(labels, self.units, dtype="float32")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss against the mixed targets, and the weights' penalties."""
        return super().compute_loss(
            x, y_pred["targets"], y_pred["answers"], sample_weight, training=training
        )

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Against the labels: of a mixed picture, the one that it was."""
        return super().compute_metrics(x, y, y_pred["answers"], sample_weight)


def _variations(recipe: Recipe, augmentation: Augmentation | None, seed: int) -> list[Any]:
    layers: list[Any] = []
    if augmentation:
        layers.append(RandomWarp(augmentation, seed=seed))
    if recipe.rand_augment:
        layers.append(keras.layers.RandAugment(factor=recipe.rand_augment, seed=seed))
    return layers


def compiled(
    core: keras.Model,
    stage: Stage,
    recipe: Recipe,
    augmentation: Augmentation | None,
    *,
    seed: int,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
) -> LearningModel:
    """The core behind its augmentation, ready for a stage."""
    choose_learners(core, stage)
    model = LearningModel(core, recipe, augmentation, seed=seed)
    model.compile(
        optimizer=_optimizer(recipe, schedule),
        loss=_loss(recipe, model.units),
        metrics=["accuracy"],
        # On TensorFlow's CPU, XLA makes these models slower: 0.39 s became 0.95 s for a batch.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _optimizer(
    recipe: Recipe, schedule: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    # `plateau` cannot be known by the step: the rate is set before each epoch.
    by_epoch = isinstance(schedule, StageSchedule) and recipe.schedule == "plateau"
    optimizer = keras.optimizers.Adam(
        float(schedule(0)) if by_epoch else schedule,
        global_clipnorm=recipe.clip_norm or None,
        use_ema=bool(recipe.ema),
        ema_momentum=recipe.ema,
    )
    if recipe.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _loss(recipe: Recipe, units: int) -> keras.losses.Loss:
    losses, smoothing = keras.losses, recipe.label_smoothing
    if units == 1 and recipe.focal:
        return losses.BinaryFocalCrossentropy(gamma=recipe.focal, label_smoothing=smoothing)
    if units == 1:
        return losses.BinaryCrossentropy(label_smoothing=smoothing)
    if recipe.focal:
        # Its alpha would make every loss a quarter: `balance` is what weighs the classes here.
        return losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=recipe.focal, label_smoothing=smoothing
        )
    return losses.CategoricalCrossentropy(label_smoothing=smoothing)


def choose_learners(core: keras.Model, stage: Stage) -> None:
    """Freeze what does not learn in a stage; frozen statistics stay frozen."""
    *body, last = core.layers
    last.trainable = True
    frozen_statistics = any(
        isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable for layer in body
    )
    for layer in body:
        if isinstance(layer, keras.layers.BatchNormalization) and frozen_statistics:
            continue
        layer.trainable = stage.learns == "all"


def penalise_weights(core: keras.Model, recipe: Recipe) -> None:
    """Let every kernel's size add to the loss; what the saved model says of itself stays."""
    if not (recipe.l1 or recipe.l2):
        return
    for variable in core.trainable_variables:
        if "kernel" in variable.name:
            variable.regularizer = keras.regularizers.L1L2(recipe.l1, recipe.l2)


def reseed(model: keras.Model, key: tuple[int, ...]) -> None:
    """Let all that draws draw, from here on, what depends on the key alone."""
    import numpy as np

    states = [v for v in model.variables if "seed_generator_state" in v.path]
    for number, state in enumerate(states):
        state.assign(np.random.SeedSequence((*key, number)).generate_state(2))
