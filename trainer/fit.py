"""The training loop: stages of epochs, the best weights kept, checkpoints on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.head import Head
from trainer.architectures import Stage
from trainer.augment import Augmentation
from trainer.checkpoint_keeper import CheckpointKeeper
from trainer.errors import DivergedError, ResumeError
from trainer.fit_display import FitDisplay
from trainer.fit_state import Checkpoint, FitState, read_checkpoint
from trainer.pictures import Pixels

if TYPE_CHECKING:
    import keras

# The last epochs of a stage learn at this share of its learning rate.
LAST_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class FitPlan:
    """Everything that decides a training's course.

    Attributes:
        checkpoint: file that keeps the epochs that are done; read first when `resume`.
        identity: what the run is made of and with; a checkpoint of another identity is refused.
    """

    stages: tuple[Stage, ...]
    head: Head
    augmentation: Augmentation | None
    batch_size: int
    seed: int
    checkpoint: Path
    identity: Mapping[str, Any]
    resume: bool = False


def fit(core: keras.Model, train: Pixels, val: Pixels, plan: FitPlan) -> FitState:
    """Train `core` in place; it ends with the weights of the lowest validation loss.

    Raises:
        DivergedError: when the loss is no longer finite.
        ResumeError: when the checkpoint does not belong to this plan.
        StorageError: when a checkpoint cannot be written.
    """
    resumed = _resumed(plan)
    state = resumed.state if resumed else FitState()
    if resumed:
        _set_weights(core, resumed.weights, plan.checkpoint)
    keeper = CheckpointKeeper(plan.checkpoint)
    with FitDisplay(plan.stages, batches=-(-len(train) // plan.batch_size)) as display:
        try:
            while state.stage < len(plan.stages):
                stage = plan.stages[state.stage]
                model = _training_model(core, stage, plan)
                if resumed:
                    _set_optimizer(model, resumed.optimizer, plan.checkpoint)
                _run_stage(core, model, (train, val), plan, state, keeper, display)
                resumed = None
                core.set_weights(state.best_weights)
                state.stage, state.stage_epoch, state.waited = state.stage + 1, 0, 0
        finally:
            keeper.flush()  # whatever happened, every epoch that was done is kept
    return state


def _resumed(plan: FitPlan) -> Checkpoint | None:
    if not (plan.resume and plan.checkpoint.exists()):
        return None
    checkpoint = read_checkpoint(plan.checkpoint)
    for name, now in plan.identity.items():
        before = checkpoint.identity.get(name)
        if before != now:
            what = f"{name} was {before}, is now {now}"
            raise ResumeError(
                f"{plan.checkpoint}: belongs to another training ({what[:200]}); resume with what "
                "it was begun with, or begin again with --overwrite."
            )
    return checkpoint


def _run_stage(
    core: keras.Model,
    model: keras.Model,
    data: tuple[Pixels, Pixels],
    plan: FitPlan,
    state: FitState,
    keeper: CheckpointKeeper,
    display: FitDisplay,
) -> None:
    stage = plan.stages[state.stage]
    while state.stage_epoch < stage.epochs and state.waited < stage.patience:
        began = time.perf_counter()
        rate = learning_rate(stage, state.stage_epoch)
        model.optimizer.learning_rate = rate
        display.begin_epoch(state.epochs + 1, stage)
        figures = _run_epoch(model, data, plan, state.epochs, display)
        state.stage_epoch += 1
        seconds = time.perf_counter() - began
        state.seconds += seconds
        state.note({**figures, "learning_rate": rate, "stage": stage.name})
        state.note({"seconds": round(seconds, 3)})
        _require_finite(figures, state, stage)
        _judge(core, state, figures["val_loss"])
        display.end_epoch(state, figures)
        # Copies: the next epoch goes on with the same variables.
        now = [np.array(variable) for variable in model.optimizer.variables]
        keeper.keep(Checkpoint(state.snapshot(), plan.identity, core.get_weights(), now))


def _run_epoch(
    model: keras.Model,
    data: tuple[Pixels, Pixels],
    plan: FitPlan,
    epoch: int,
    display: FitDisplay,
) -> dict[str, float]:
    """One pass through the pictures; nothing random in it depends on earlier epochs."""
    from trainer.batches import Batches
    from trainer.keras_quiet import keras

    train, val = data
    # Not before `fit`: what it does to build a model draws numbers, and only the first time.
    reseed = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: _reseed(model, plan.seed, epoch)
    )
    answer = model.fit(
        Batches(train, plan.batch_size, shuffle_key=(plan.seed, epoch)),
        validation_data=Batches(val, plan.batch_size),
        class_weight=class_weights(train.labels),
        callbacks=[reseed, display.callback()],
        shuffle=False,  # `Batches` does it by seed and epoch; Keras would do it again, by neither
        verbose=0,
    )
    return {name: float(values[0]) for name, values in answer.history.items()}


def learning_rate(stage: Stage, done: int) -> float:
    """The rate after so many epochs of a stage: half a cosine, from whole to almost nothing.

    It depends on the epoch alone, so a resumed run needs no memory of it, and learns as well as
    with a rate that falls when the validation loss stands still (56.7 and 56.9 % on CIFAR-10).
    """
    share = (1 + math.cos(math.pi * done / max(1, stage.epochs - 1))) / 2
    return stage.learning_rate * max(LAST_SHARE, share)


def _judge(core: keras.Model, state: FitState, val_loss: float) -> None:
    """Keep the best weights."""
    if val_loss < state.best_loss:
        state.best_loss, state.best_epoch, state.waited = val_loss, state.epochs, 0
        state.best_weights = core.get_weights()
    else:
        state.waited += 1


def _require_finite(figures: Mapping[str, float], state: FitState, stage: Stage) -> None:
    for name in ("loss", "val_loss"):
        if not math.isfinite(figures[name]):
            rate = stage.learning_rate
            raise DivergedError(
                f"{name} became {figures[name]} in epoch {state.epochs} ({stage.name}); training "
                f"diverged. Try a smaller --learning-rate than {rate:g}, such as {rate / 10:g}."
            )


def class_weights(labels: np.ndarray) -> dict[int, float] | None:
    """Weights that let every class count the same; `None` where all are equally many."""
    counts = np.bincount(labels)
    if (counts == counts[0]).all():
        return None
    return {i: len(labels) / (len(counts) * max(1, int(n))) for i, n in enumerate(counts)}


def _training_model(core: keras.Model, stage: Stage, plan: FitPlan) -> keras.Model:
    """The core behind its augmentation, compiled for a stage."""
    from trainer.keras_quiet import keras

    _choose_learners(core, stage)
    image = keras.Input(core.input_shape[1:], dtype="uint8")
    seen = image
    if plan.augmentation:
        from trainer.warp import RandomWarp

        seen = RandomWarp(plan.augmentation, seed=plan.seed)(image)
    model = keras.Model(image, core(seen))
    sigmoid = plan.head.kind == "sigmoid"
    model.compile(
        optimizer=keras.optimizers.Adam(stage.learning_rate),
        loss="binary_crossentropy" if sigmoid else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # On TensorFlow's CPU, XLA makes these models slower: 0.39 s became 0.95 s for a batch.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _choose_learners(core: keras.Model, stage: Stage) -> None:
    from trainer.keras_quiet import keras

    *body, last = core.layers
    last.trainable = True
    frozen_statistics = any(
        isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable for layer in body
    )
    for layer in body:
        if isinstance(layer, keras.layers.BatchNormalization) and frozen_statistics:
            continue
        layer.trainable = stage.learns == "all"


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Dropout and augmentation draw, in an epoch, what they would draw without interruption."""
    for number, layer in enumerate(_flatten(model)):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            fresh = np.random.SeedSequence((seed, epoch, number)).generate_state(2)
            generator.state.assign(fresh)


def _flatten(model: Any) -> Sequence[Any]:
    return [inner for layer in model.layers for inner in (layer, *_flatten_inner(layer))]


def _flatten_inner(layer: Any) -> Sequence[Any]:
    return _flatten(layer) if hasattr(layer, "layers") else ()


def _set_weights(core: keras.Model, weights: list[np.ndarray], file: Path) -> None:
    try:
        core.set_weights(weights)
    except ValueError as exc:
        raise _other_model(file) from exc


def _set_optimizer(model: keras.Model, values: list[np.ndarray], file: Path) -> None:
    variables = model.optimizer.variables
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise _other_model(file)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _other_model(file: Path) -> ResumeError:
    return ResumeError(
        f"{file}: was made by another version of edgeproof or Keras; begin again with --overwrite."
    )
