"""Who else is told each epoch's figures: TensorBoard's logs, an MLflow server."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.files import require_writable_folder, storage_errors
from edge_runtime.text import printable
from trainer.errors import MissingPackageError, MonitorError, OptionError
from trainer.fit_state import FitState
from trainer.reasons import reason_of


class Monitor(Protocol):
    """Is told after every epoch."""

    def note(self, state: FitState) -> None:
        """Look at the history's newest figures."""


# The history's names, as both tools group them.
_TAGS = {
    "loss": "loss/train",
    "val_loss": "loss/val",
    "accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}


@contextmanager
def monitors(
    tensorboard: Path | None, mlflow: str | None, *, name: str, settings: Mapping[str, Any]
) -> Iterator[tuple[Monitor, ...]]:
    """Open what the user asked for, and close it whatever happens.

    Args:
        tensorboard: folder of its logs.
        mlflow: its tracking server's address, http or https.
        name: of the run.
        settings: plain values to record with it.

    Raises:
        MissingPackageError: when a package is not installed.
        MonitorError: when the server does not answer.
        StorageError: when the logs cannot be written.
    """
    require_monitor_packages(tensorboard, mlflow)
    with ExitStack() as stack:
        opened: list[Monitor] = []
        if tensorboard is not None:
            opened.append(stack.enter_context(_tensorboard(tensorboard)))
        if mlflow is not None:
            opened.append(stack.enter_context(_mlflow(mlflow, name, settings)))
        yield tuple(opened)


def require_monitor_packages(tensorboard: Path | None, mlflow: str | None) -> None:
    """Find out before any work whether they can be told.

    Raises:
        MissingPackageError: when a package is not installed.
        OptionError: when the address is of no server.
    """
    if mlflow is not None and not mlflow.startswith(("http://", "https://")):
        raise OptionError(
            f"--mlflow {printable(mlflow)}: takes a tracking server's address, such as "
            "http://127.0.0.1:5000."
        )
    wanted = {"tensorboard": tensorboard, "mlflow": mlflow}
    for package, value in wanted.items():
        if value is not None and importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"--{package} needs {package}, which is not installed: "
                f"pip install 'edgeproof[{package}]'."
            )


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Monitor]:
    require_writable_folder(folder)
    # Its own writer: that of TensorFlow would need TensorFlow under JAX as well.
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))

    class _Log:
        begun = False

        def note(self, state: FitState) -> None:
            values = [
                Summary.Value(tag=tag, simple_value=state.history[name][-1])
                for name, tag in _TAGS.items()
            ]
            with storage_errors(folder):
                if not self.begun:
                    # TensorBoard forgets what an interrupted training told of it and later ones.
                    start = SessionLog(status=SessionLog.START)
                    writer.add_event(Event(step=state.epochs, session_log=start))
                    self.begun = True
                writer.add_event(Event(step=state.epochs, summary=Summary(value=values)))
                writer.flush()

    try:
        yield _Log()
    finally:
        writer.close()


@contextmanager
def _mlflow(uri: str, name: str, settings: Mapping[str, Any]) -> Iterator[Monitor]:
    from mlflow.tracking import MlflowClient

    # Its own patience is minutes, in which an epoch would wait.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # Standard output is for the result of the command.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    with _mlflow_errors(uri):
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("edgeproof")
        number = experiment.experiment_id if experiment else client.create_experiment("edgeproof")
        run = client.create_run(number, run_name=name).info.run_id
        for key, value in settings.items():
            client.log_param(run, key, str(value)[:500])

    class _Run:
        def __init__(self) -> None:
            self.next = 1

        def note(self, state: FitState) -> None:
            # A server that is away for a while must not end a long training: it is told later.
            with suppress(MonitorError):
                self.tell(state)

        def tell(self, state: FitState) -> None:
            with _mlflow_errors(uri):
                # A resumed training begins a run of its own, and tells it what came before.
                for epoch in range(self.next, state.epochs + 1):
                    for key, tag in _TAGS.items():
                        client.log_metric(run, tag, state.history[key][epoch - 1], step=epoch)
                self.next = state.epochs + 1

    ended = "FAILED"
    try:
        yield _Run()
        ended = "FINISHED"
    except KeyboardInterrupt:
        ended = "KILLED"
        raise
    finally:
        # It does not answer: the training is done all the same.
        with suppress(MonitorError), _mlflow_errors(uri):
            client.set_terminated(run, status=ended)


@contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # requests', urllib3's and its own
        why = reason_of(exc).replace(uri, without_password(uri))
        raise MonitorError(f"--mlflow {without_password(uri)}: {why}") from exc


def without_password(uri: str) -> str:
    """The address without what stands before its @."""
    scheme, slashes, rest = uri.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}" if slashes else uri
