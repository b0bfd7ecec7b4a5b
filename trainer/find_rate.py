"""Finding a learning rate: one short sweep from far too small to too large.

After Smith, "Cyclical learning rates for training neural networks" (WACV 2017): the loss falls as
the rate grows, and jumps once it is too large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.files import require_writable_folder, staged_file
from edge_runtime.progress import print_note
from trainer.augment import Augmentation, augmentation
from trainer.errors import DivergedError
from trainer.options import TrainOptions, resolve
from trainer.pictures import Pixels
from trainer.precision import learner_of
from trainer.preparing import prepare
from trainer.recipe import Recipe
from trainer.training import require_apart

if TYPE_CHECKING:
    import keras

    from trainer.architectures import Stage

PLOT_NAME = "learning-rate.png"
LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 120
# The sweep ends when the loss is that many times its lowest.
EXPLODED = 3.0
SMOOTHING = 0.9
# Below the rate of the lowest loss, where it is about to jump.
SAFETY = 10.0


@dataclass(frozen=True, eq=False)
class RateSweep:
    """What a sweep saw.

    Attributes:
        rates: float64, (steps,): learning rate of each step.
        losses: float64, (steps,): the loss, smoothed.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """A tenth of the rate where the loss was lowest, to one digit."""
        return _to_one_digit(float(self.rates[self.losses.argmin()]) / SAFETY)


@dataclass(frozen=True, eq=False)
class FoundRate:
    """A sweep, and its plot."""

    sweep: RateSweep
    plot: Path


def find_learning_rate(data: str | Path, out: str | Path, options: TrainOptions) -> FoundRate:
    """Sweep the rate of the last stage on a data set, and draw what came of it.

    A run that is in `out` stays as it is.

    Raises:
        DivergedError: when the loss is not finite from the first steps on.
        EdgeproofError: as `train`.
    """
    data, out = str(data), Path(out)
    resolve(options)  # a misspelt option is told of before anything is looked at
    require_apart(data, out)
    require_writable_folder(out)
    prepared = prepare(data, options, scratch=out, tell=print_note)
    settings = prepared.settings
    seen = sweep_rates(
        learner_of(prepared.core, settings.recipe.precision),
        prepared.dataset.train,
        settings.stages[-1],
        settings.recipe,
        augmentation(settings.augment),
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    plot = out / PLOT_NAME
    with staged_file(plot) as part:
        _draw(seen, part)
    return FoundRate(seen, plot)


def sweep_rates(
    core: keras.Model,
    train: Pixels,
    stage: Stage,
    recipe: Recipe,
    augmentation: Augmentation | None,
    *,
    batch_size: int,
    seed: int,
) -> RateSweep:
    """Learn for some steps, each at a larger rate; the core is spoilt afterwards.

    Raises:
        DivergedError: when not even the first steps have a finite loss.
    """
    from edge_runtime.progress import progress_bar
    from trainer.batches import LearningBatches, fed
    from trainer.keras_quiet import keras
    from trainer.learning_model import compiled, reseed
    from trainer.schedule import SweepSchedule

    schedule = SweepSchedule(LOWEST, HIGHEST, STEPS)
    model = compiled(core, stage, recipe, augmentation, seed=seed, schedule=schedule)
    trace = _Trace()

    class _Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
            reseed(model, (seed, 0))

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            advance(1)
            self.model.stop_training = trace.exploded((logs or {})["loss"])

    with progress_bar("finding a learning rate", STEPS) as advance:
        batches = LearningBatches(train, batch_size, key=(seed, 0), steps=STEPS)
        model.fit(fed(batches), callbacks=[_Watch()], shuffle=False, verbose=0)
    if not trace.losses:
        raise DivergedError(f"The loss is not finite at a learning rate of {LOWEST:g} already.")
    rates = [float(schedule(step)) for step in range(len(trace.losses))]
    return RateSweep(np.array(rates), np.array(trace.losses))


class _Trace:
    """Smoothed losses of single steps, out of the running means that Keras tells."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._sum = self._smooth = 0.0

    def exploded(self, running_mean: float) -> bool:
        if not math.isfinite(running_mean):
            return True
        count = len(self.losses) + 1
        loss = running_mean * count - self._sum
        self._sum += loss
        self._smooth = SMOOTHING * self._smooth + (1 - SMOOTHING) * loss
        self.losses.append(self._smooth / (1 - SMOOTHING**count))
        return self.losses[-1] > EXPLODED * min(self.losses)


def _to_one_digit(value: float) -> float:
    return float(f"{value:.0e}")


def _draw(sweep: RateSweep, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(sweep.rates, sweep.losses)
    axes.axvline(sweep.suggestion, color="gray", linestyle="--", linewidth=1)
    axes.annotate(
        f" {sweep.suggestion:g}",
        (sweep.suggestion, 0.98),
        xycoords=("data", "axes fraction"),
        verticalalignment="top",
    )
    low, high = float(sweep.losses.min()), float(sweep.losses[: len(sweep.losses) // 2].max())
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    axes.set_title("Loss while the learning rate grows; the dashed line is the suggestion")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(file, dpi=120)
