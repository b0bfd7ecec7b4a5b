"""Several devices, processes or hosts that train one model together, on JAX."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.errors import MissingPackageError, OptionError, TeamError
from trainer.reasons import reason_of

if TYPE_CHECKING:
    import keras

    from trainer.pictures import Pixels


# What JAX raises where processes no longer hear each other; none of its classes is public.
_LOST = re.compile(r"^(Jax|Xla)RuntimeError|Gloo|NCCL|heartbeat")


@dataclass(frozen=True)
class TeamOptions:
    """How the processes of a training find each other.

    Attributes:
        coordinator: HOST:PORT of the process with id 0; `None`: SLURM, Kubernetes, MPI or a TPU
            pod tells, or there is this process alone, with all its devices.
        processes: how many there are.
        process_id: which of them this is, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None

    def __post_init__(self) -> None:
        given = [self.coordinator, self.processes, self.process_id]
        if any(value is not None for value in given) and None in given:
            raise OptionError(
                "--coordinator, --processes and --process-id belong together: give all three, or "
                "none where SLURM, Kubernetes, MPI or a TPU pod knows them."
            )
        if self.processes is not None and self.process_id is not None:
            if self.processes < 1:
                raise OptionError(f"--processes {self.processes}: takes a number above 0.")
            if not 0 <= self.process_id < self.processes:
                raise OptionError(
                    f"--process-id {self.process_id}: takes a number from 0 to "
                    f"{self.processes - 1}."
                )


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        processes: how many there are.
        index: which one this is; 0 leads.
        devices: how many all of them have.
    """

    processes: int = 1
    index: int = 0
    devices: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows; the others only compute."""
        return self.index == 0

    @property
    def is_one_device(self) -> bool:
        """Whether all is as without a team."""
        return self.devices == 1

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This process' part of a batch."""
        size = len(rows) // self.processes
        return rows[self.index * size : (self.index + 1) * size]

    def require_batch(self, batch_size: int, pictures: int) -> None:
        """Raises OptionError when the devices cannot share a batch evenly."""
        if batch_size % self.devices:
            raise OptionError(
                f"--batch-size {batch_size}: is shared by {self.devices} devices; take a multiple "
                f"of {self.devices}."
            )
        if not self.is_one_device and pictures < batch_size:
            raise OptionError(
                f"--batch-size {batch_size}: there are {pictures} pictures to learn from; with "
                "--distributed a batch must be full."
            )


ALONE = Team()


def join_team(options: TeamOptions) -> Team:
    """Find the other processes, and let Keras share every batch with them.

    Call it before Keras or JAX is used for anything.

    Raises:
        MissingPackageError: when JAX is not installed.
        OptionError: when Keras is told to use another backend.
        TeamError: when the others cannot be found.
    """
    if os.environ.setdefault("KERAS_BACKEND", "jax") != "jax":
        raise OptionError(
            f"--distributed trains on JAX; KERAS_BACKEND is {os.environ['KERAS_BACKEND']}. Unset "
            "it, or set it to jax."
        )
    if importlib.util.find_spec("jax") is None:
        raise MissingPackageError(
            "--distributed needs jax, which is not installed: pip install 'edgeproof[train,jax]'."
        )
    # How processors without a GPU talk to each other; GPUs and TPUs have their own ways.
    os.environ.setdefault("JAX_CPU_COLLECTIVES_IMPLEMENTATION", "gloo")
    import jax

    _initialise(options)
    from trainer.keras_quiet import keras

    # Each process gives its own part of a batch, so Keras has nothing to shard.
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )
    return Team(jax.process_count(), jax.process_index(), jax.device_count())


def _initialise(options: TeamOptions) -> None:
    import jax

    try:
        if options.coordinator is not None:
            jax.distributed.initialize(
                options.coordinator,
                options.processes,
                options.process_id,
                initialization_timeout=60,
            )
        else:
            # Alone, it says that it was told no coordinator.
            with contextlib.suppress(ValueError):
                jax.distributed.initialize()
    except Exception as exc:  # gRPC's and XLA's own
        where = options.coordinator or "the cluster"
        raise TeamError(
            f"--distributed: the processes of {where} did not meet: {reason_of(exc)}"
        ) from exc


@contextlib.contextmanager
def while_all_live(team: Team) -> Iterator[None]:
    """Raises TeamError in place of JAX' own error where another process has died.

    JAX' end would then wait minutes for that process, and abort: this one leaves without it.
    """
    try:
        yield
    except Exception as exc:
        if team.processes == 1 or not _LOST.search(f"{type(exc).__name__}: {exc}"):
            raise
        atexit.register(_leave_at_once)  # before what JAX has registered
        raise TeamError(
            f"--distributed: another process is gone ({reason_of(exc, longest=120)}). Start all of "
            "them again with --resume."
        ) from exc


def _leave_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def leave_team() -> None:
    """Back to this process' own first device; what is built from here on is its own."""
    from trainer.keras_quiet import keras

    keras.distribution.set_distribution(None)


def require_same(what: str, value: int) -> None:
    """All processes must have the same value, or they would wait for each other for ever.

    Raises:
        TeamError: on every process, when they have not.
    """
    from jax.experimental import multihost_utils

    with _without_greeting():
        values = np.asarray(multihost_utils.process_allgather(np.int32(value))).ravel()
    if (values != values[0]).any():
        raise TeamError(
            f"--distributed: the processes differ in {what} ({', '.join(map(str, values))}); give "
            "all of them the same options, and let them see the same files."
        )


@contextlib.contextmanager
def _without_greeting() -> Iterator[None]:
    """Gloo greets those it has met on standard output, which is for the command's result."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # no standard output at all, as in some services
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


class TeamAnswers:
    """The core's answers to pictures, which all devices work out together."""

    def __init__(self, core: keras.Model, team: Team) -> None:
        import jax
        from jax.sharding import NamedSharding, PartitionSpec

        from trainer.keras_quiet import keras

        mesh = keras.distribution.distribution().device_mesh.backend_mesh
        self._core, self._team = core, team
        self._by_rows = NamedSharding(mesh, PartitionSpec("batch"))

        def answer(trainable: Any, other: Any, images: Any) -> Any:
            return core.stateless_call(trainable, other, images, training=False)[0]

        self._answer = jax.jit(answer, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, pixels: Pixels, batch_size: int) -> np.ndarray:
        """float32, (pictures, units): the same on every process."""
        import jax

        trainable = [v.value for v in self._core.trainable_variables]
        other = [v.value for v in self._core.non_trainable_variables]
        found = []
        for start in range(0, len(pixels), batch_size):
            rows = np.arange(start, min(start + batch_size, len(pixels)))
            # Every device needs as many; the last ones are asked again and forgotten.
            mine = self._team.share(np.resize(rows, batch_size))
            images = jax.make_array_from_process_local_data(self._by_rows, pixels.inputs(mine))
            found.append(np.asarray(self._answer(trainable, other, images))[: len(rows)])
        return np.concatenate(found)
