"""Continuing from a checkpoint: whether it belongs, and putting its arrays back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.text import one_line
from trainer.errors import ResumeError
from trainer.fit_state import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    import keras

# Of a value that differs, in a message.
_LONGEST = 80


def belonging_checkpoint(file: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint to continue from; `None` where there is none.

    After a divergence another learning rate is no other training: it is what was asked for.

    Raises:
        ResumeError: when it is damaged or belongs to another training.
    """
    if not file.exists():
        return None
    checkpoint = read_checkpoint(file)
    for name, now in identity.items():
        before = checkpoint.identity.get(name)
        if name == "stages" and checkpoint.state.diverged:
            before, now = _without_rates(before), _without_rates(now)
        if before != now:
            raise ResumeError(
                f"{file}: belongs to another training ({_difference(name, before, now)}); resume "
                "with what it was begun with, or begin again with --overwrite."
            )
    checkpoint.state.diverged = False
    return checkpoint


def _difference(name: str, before: Any, now: Any) -> str:
    """The first thing that differs, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        return _difference(str(key), before.get(key), now.get(key))
    alike = isinstance(before, list) and isinstance(now, list) and len(before) == len(now)
    if alike and all(isinstance(each, Mapping) for each in (*before, *now)):
        one, other = next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1])
        return _difference(name, one, other)
    shown = [one_line(str(value), _LONGEST) for value in (before, now)]
    return f"{name.replace('_', ' ')} was {shown[0]}, is now {shown[1]}"


def _without_rates(stages: Any) -> Any:
    if not isinstance(stages, list):
        return stages
    return [{k: v for k, v in stage.items() if k != "learning_rate"} for stage in stages]


def set_weights(core: keras.Model, weights: list[np.ndarray], file: Path) -> None:
    """Raises ResumeError when they are another model's."""
    try:
        core.set_weights(weights)
    except ValueError as exc:
        raise _other_model(file) from exc


def set_optimizer(model: keras.Model, values: list[np.ndarray], file: Path) -> None:
    """Raises ResumeError when they are another optimizer's."""
    variables = model.optimizer.variables
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise _other_model(file)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _other_model(file: Path) -> ResumeError:
    return ResumeError(
        f"{file}: was made by another version of edgeproof or Keras; begin again with --overwrite."
    )
