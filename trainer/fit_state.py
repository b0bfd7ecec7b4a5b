"""Where a training is: everything that a resumed run needs, and its file."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.files import staged_file
from trainer.errors import ResumeError

CHECKPOINT_NAME = "checkpoint.npz"
FORMAT = 2


@dataclass
class FitState:
    """Progress through the stages; changes with every epoch.

    Attributes:
        stage: index of the stage that is under way.
        stage_epoch: epochs of it that are done.
        waited: epochs since the best one, within the stage.
        rate_scale: what the schedule `plateau` has made of the stage's learning rate.
        diverged: whether the next epoch's loss was no longer finite.
        best_epoch: number, from 1, of the epoch with the lowest validation loss.
        history: one number for each epoch that is done, by name.
    """

    stage: int = 0
    stage_epoch: int = 0
    waited: int = 0
    rate_scale: float = 1.0
    diverged: bool = False
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    history: dict[str, list[Any]] = field(default_factory=dict)
    best_weights: list[np.ndarray] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs are done, in all stages."""
        return len(self.history.get("loss", []))

    def next_stage(self) -> None:
        """Count from there."""
        self.stage, self.stage_epoch, self.waited, self.rate_scale = self.stage + 1, 0, 0, 1.0

    def snapshot(self) -> FitState:
        """A copy that later epochs leave as it is."""
        history = {name: list(values) for name, values in self.history.items()}
        return replace(self, history=history, best_weights=list(self.best_weights))

    def note(self, figures: Mapping[str, Any]) -> None:
        """Append one epoch's figures to the history."""
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What the file holds: the state, and the arrays of model and optimizer at that moment.

    Attributes:
        identity: what the run was made of and with, to compare with on resuming.
    """

    state: FitState
    identity: Mapping[str, Any]
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all.

    Raises:
        StorageError: when the disk is full or not writable.
    """
    state = checkpoint.state
    plain = {name: value for name, value in vars(state).items() if name != "best_weights"}
    # Often the same arrays: not twice on the disk. With averaged weights they never are.
    best_is_now = len(state.best_weights) == len(checkpoint.weights) and all(
        a is b for a, b in zip(state.best_weights, checkpoint.weights, strict=True)
    )
    meta = {"format": FORMAT, "state": plain, "identity": checkpoint.identity}
    arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    groups = {"weights": checkpoint.weights, "optimizer": checkpoint.optimizer}
    if not best_is_now:
        groups["best"] = state.best_weights
    for name, group in groups.items():
        arrays |= {f"{name}.{i}": array for i, array in enumerate(group)}
    with staged_file(file) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]  # its stub takes a flag for any name


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ResumeError: when it is damaged or of another edgeproof.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            meta = json.loads(stored["meta"].tobytes())
            if meta["format"] != FORMAT:
                raise ResumeError(f"{file}: is of another edgeproof; begin again with --overwrite.")
            weights, optimizer, best = (
                [stored[f"{name}.{i}"] for i in range(_count(stored.files, name))]
                for name in ("weights", "optimizer", "best")
            )
            state = FitState(**meta["state"], best_weights=best or weights)
            return Checkpoint(state, meta["identity"], weights, optimizer)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as exc:
        raise ResumeError(
            f"{file}: is damaged and cannot be resumed; begin again with --overwrite."
        ) from exc


def _count(names: list[str], group: str) -> int:
    return sum(name.startswith(f"{group}.") for name in names)
