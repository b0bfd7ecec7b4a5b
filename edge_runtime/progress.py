"""Progress bars for whatever takes more than a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar while the body runs; the body calls what it is given with each step's size."""
    # rich is imported here: the camera loop starts without it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn()]
    counted = [MofNCompleteColumn()] if total is not None else []
    # The stream as it is now: quantisers that chatter are redirected while the bar runs.
    console = Console(file=sys.stderr)
    bar = Progress(*columns, *counted, TimeElapsedColumn(), console=console)
    with bar:
        task = bar.add_task(description, total=total)

        def advance(steps: int) -> None:
            bar.advance(task, steps)

        yield advance


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def status_line(description: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner while the body runs; the body says what it is at with what it is given."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(description) as status:
        yield lambda step: status.update(f"{description}: {escape(step)}")
