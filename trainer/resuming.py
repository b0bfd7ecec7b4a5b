"""Continuing from a checkpoint: whether it belongs, and putting its arrays back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.errors import ResumeError
from trainer.fit_state import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    import keras


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
            what = f"{name} was {before}, is now {now}"
            raise ResumeError(
                f"{file}: belongs to another training ({what[:200]}); resume with what "
                "it was begun with, or begin again with --overwrite."
            )
    checkpoint.state.diverged = False
    return checkpoint


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
