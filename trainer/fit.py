"""The training loop: stages of epochs, the best weights kept, checkpoints on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.head import Head
from trainer.architectures import Stage
from trainer.augment import Augmentation
from trainer.checkpoint_keeper import CheckpointKeeper
from trainer.epoch import answers, class_weights, cross_entropy, learn
from trainer.errors import DivergedError
from trainer.fit_display import FitDisplay
from trainer.fit_state import Checkpoint, FitState
from trainer.monitors import Monitor
from trainer.pictures import Pixels
from trainer.precision import learner_of
from trainer.recipe import Recipe
from trainer.resuming import belonging_checkpoint, set_optimizer, set_weights
from trainer.team import ALONE, Team, TeamAnswers, require_same

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class FitPlan:
    """Everything that decides a training's course.

    Attributes:
        recipe: with its precision chosen.
        checkpoint: file that keeps the epochs that are done; read first when `resume`.
        identity: what the run is made of and with; a checkpoint of another identity is refused.
        monitors: told every epoch's figures.
        team: what it is trained on; only who leads writes and shows.
    """

    stages: tuple[Stage, ...]
    recipe: Recipe
    head: Head
    augmentation: Augmentation | None
    batch_size: int
    seed: int
    checkpoint: Path
    identity: Mapping[str, Any]
    resume: bool = False
    monitors: tuple[Monitor, ...] = ()
    team: Team = ALONE


def fit(core: keras.Model, train: Pixels, val: Pixels, plan: FitPlan) -> FitState:
    """Train `core` in place; it ends with the weights of the lowest validation loss.

    Raises:
        DivergedError: when the loss is no longer finite.
        ResumeError: when the checkpoint does not belong to this plan.
        StorageError: when a checkpoint cannot be written.
    """
    resumed = belonging_checkpoint(plan.checkpoint, plan.identity) if plan.resume else None
    plan.team.require_batch(plan.batch_size, len(train))
    if plan.team.processes > 1:
        require_same("epochs done before", resumed.state.epochs if resumed else 0)
    learner = learner_of(core, plan.recipe.precision)
    if resumed:
        set_weights(learner, resumed.weights, plan.checkpoint)
    loop = _Loop(learner, train, val, plan, resumed.state if resumed else FitState())
    loop.run(resumed.optimizer if resumed else None)
    core.set_weights(loop.state.best_weights)
    return loop.state


class _Loop:
    """The state of one training under way."""

    def __init__(
        self, learner: keras.Model, train: Pixels, val: Pixels, plan: FitPlan, state: FitState
    ) -> None:
        from trainer.batches import steps_per_epoch
        from trainer.learning_model import penalise_weights

        self.learner, self.train, self.val, self.plan, self.state = learner, train, val, plan, state
        self.keeper = CheckpointKeeper(plan.checkpoint if plan.team.leads else None)
        self.steps = steps_per_epoch(train, plan.batch_size)
        self.display = FitDisplay(plan.stages, batches=self.steps)
        self.asked = None if plan.team.is_one_device else TeamAnswers(learner, plan.team)
        self.weights = class_weights(train.labels) if plan.recipe.balance == "weights" else None
        penalise_weights(learner, plan.recipe)

    def run(self, optimizer: list[np.ndarray] | None) -> None:
        """All stages that are left.

        Args:
            optimizer: what the checkpoint's optimizer knew, for the stage under way.
        """
        with self.display:
            try:
                while self.state.stage < len(self.plan.stages):
                    self._run_stage(self.plan.stages[self.state.stage], optimizer)
                    optimizer = None
            except DivergedError:
                self.keeper.note_divergence()
                raise
            finally:
                self.keeper.flush()  # whatever happened, every epoch that was done is kept

    def _run_stage(self, stage: Stage, optimizer: list[np.ndarray] | None) -> None:
        from trainer.learning_model import compiled
        from trainer.schedule import StageSchedule

        plan, state = self.plan, self.state
        schedule = StageSchedule(stage, plan.recipe, steps_per_epoch=self.steps)
        model = compiled(
            self.learner,
            stage,
            plan.recipe,
            plan.augmentation,
            seed=plan.seed,
            schedule=schedule,
        )
        if optimizer is not None:
            set_optimizer(model, optimizer, plan.checkpoint)
        while state.stage_epoch < stage.epochs and state.waited < stage.patience:
            rate = schedule.middle(state.stage_epoch) * state.rate_scale
            if plan.recipe.schedule == "plateau":
                model.optimizer.learning_rate = rate
            self._run_epoch(model, stage, rate)
        self.learner.set_weights(state.best_weights)
        state.next_stage()

    def _run_epoch(self, model: keras.Model, stage: Stage, rate: float) -> None:
        plan, state = self.plan, self.state
        began = time.perf_counter()
        self.display.begin_epoch(state.epochs + 1, stage)
        try:
            figures, last = learn(
                model,
                self.train,
                batch_size=plan.batch_size,
                key=(plan.seed, state.epochs),
                weights=self.weights,
                callbacks=[self.display.callback()],
                team=plan.team,
            )
            averaged = self.learner.get_weights() if plan.recipe.ema else last
            if plan.recipe.ema:
                # On JAX, the average and the model now share arrays, of which `predict` disposes.
                self.learner.set_weights(averaged)
            figures |= self._validate()
        except DivergedError as exc:
            raise _advised(exc, state, stage, plan.checkpoint) from exc
        seconds = time.perf_counter() - began
        state.seconds += seconds
        state.note({**figures, "learning_rate": rate, "stage": stage.name})
        state.note({"seconds": round(seconds, 3)})
        self._judge(stage, figures["val_loss"], averaged)
        self.display.end_epoch(state, figures)
        for monitor in plan.monitors:
            monitor.note(state)
        if plan.recipe.ema:
            self.learner.set_weights(last)
        # Copies: the next epoch goes on with the same variables.
        now = [np.array(variable) for variable in model.optimizer.variables]
        self.keeper.keep(Checkpoint(state.snapshot(), plan.identity, last, now))

    def _validate(self) -> dict[str, float]:
        """Cross-entropy, whatever loss is learnt by: recipes can be compared."""
        val, batch_size = self.val, self.plan.batch_size
        outputs = (
            self.asked(val, batch_size) if self.asked else answers(self.learner, val, batch_size)
        )
        return cross_entropy(val.labels, self.plan.head.probabilities(outputs))

    def _judge(self, stage: Stage, val_loss: float, weights: list[np.ndarray]) -> None:
        """Keep the best weights; count the epochs that brought none."""
        state = self.state
        state.stage_epoch += 1
        if val_loss < state.best_loss:
            state.best_loss, state.best_epoch, state.waited = val_loss, state.epochs, 0
            state.best_weights = weights
            return
        state.waited += 1
        if self.plan.recipe.schedule == "plateau":
            from trainer.schedule import plateau_scale

            scale = state.rate_scale
            state.rate_scale = plateau_scale(scale, waited=state.waited, patience=stage.patience)


def _advised(exc: DivergedError, state: FitState, stage: Stage, checkpoint: Path) -> DivergedError:
    """Where it happened, what is kept, and what may help."""
    why = f"{exc} of epoch {state.epochs + 1} ({stage.name}); training diverged"
    kept = "Try"
    if state.epochs:
        kept = f"{checkpoint} keeps the {state.epochs} epoch(s) before: --resume, with"
    return DivergedError(
        f"{why}. {kept} a smaller --learning-rate than {stage.learning_rate:g}, such as "
        f"{stage.learning_rate / 10:g}."
    )
