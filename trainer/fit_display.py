"""One bar for the epoch under way, one line for each that is done; on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edge_runtime.progress import console
from trainer.architectures import Stage
from trainer.fit_state import FitState

if TYPE_CHECKING:
    import keras


class FitDisplay:
    """Shows a training's progress while the `with` block runs."""

    def __init__(self, stages: tuple[Stage, ...], *, batches: int) -> None:
        self._at_most = sum(stage.epochs for stage in stages)
        self._title = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console(),
            transient=True,
        )
        self._task = self._bar.add_task("preparing", total=batches)

    def __enter__(self) -> FitDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin_epoch(self, number: int, stage: Stage) -> None:
        self._title = f"epoch {number}/{self._at_most} {stage.name}"
        self._bar.reset(self._task, description=self._title)

    def end_epoch(self, state: FitState, figures: Mapping[str, float]) -> None:
        best = "  best" if state.best_epoch == state.epochs else ""
        self._bar.console.print(
            f"{self._title}: loss {figures['loss']:.4f} accuracy {figures['accuracy']:.1%}"
            f" | val loss {figures['val_loss']:.4f} accuracy {figures['val_accuracy']:.1%}"
            f" | {state.history['seconds'][-1]:.1f} s{best}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def callback(self) -> keras.callbacks.Callback:
        """What moves the bar with each batch."""
        from trainer.keras_quiet import keras

        display = self

        class _Advance(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
                display._advance(logs or {})

        return _Advance()

    def _advance(self, logs: Mapping[str, Any]) -> None:
        figures = "".join(f" {name} {float(logs[name]):.3f}" for name in logs)
        self._bar.update(self._task, advance=1, description=f"{self._title}{figures}")
