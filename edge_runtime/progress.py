"""Progress bars for whatever takes more than a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from edge_runtime.text import printable

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

_silent = ContextVar("silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Show nothing while the body runs: another process shows it for all of them."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def console() -> Console:
    """Standard error as it is now, whatever it is redirected to later; silent where told so."""
    # rich is imported late: the camera loop starts without it.
    from rich.console import Console

    return Console(file=sys.stderr, quiet=_silent.get())


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """Show bars while the body runs, as many as it adds.

    What is given takes a bar's description and total and gives the function to call with each
    step's size, from any thread.
    """
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn()]
    # Quantisers that chatter are redirected while the bars run.
    with Progress(
        *columns, TaskProgressColumn("{task.fields[count]}"), TimeElapsedColumn(), console=console()
    ) as bars:

        def add(description: str, total: int | None) -> Callable[[int], None]:
            task = bars.add_task(description, total=total, count="")
            done = 0

            def advance(steps: int, task: TaskID = task) -> None:
                nonlocal done
                done += steps
                bars.update(task, completed=done, count=f"{done}/{total}" if total else f"{done}")

            return advance

        yield add


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show one bar while the body runs; the body calls what it is given with each step's size."""
    with progress_bars() as add:
        yield add(description, total)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)


def print_note(text: str) -> None:
    """Say on standard error, in a line of its own, what a person may want to know of a long job."""
    if not _silent.get():
        print(f"note: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def status_line(description: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner while the body runs; the body says what it is at with what it is given."""
    from rich.markup import escape

    with console().status(description) as status:
        yield lambda step: status.update(f"{description}: {escape(step)}")
