"""Opening the sources of a run, with an ear for signals, and keeping its outputs off them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_runtime.errors import SinkError
from edge_runtime.sources import Source, SourceOptions, open_source

INTERRUPTED = 130
# How soon a signal is answered while a camera is being opened.
_POLL_S = 0.1


def open_sources(
    specs: Sequence[str], asked: SourceOptions, stack: contextlib.ExitStack
) -> list[Source]:
    """Open what the user named; the stack closes it.

    Raises:
        SourceError: when one does not open.
    """
    sources: list[Source] = []
    for number, spec in enumerate(specs):
        # Named twice, the two must still be told apart.
        name = f"source {number + 1}" if spec in specs[:number] else ""
        open_it = partial(open_source, spec, replace(asked, name=name))
        sources.append(_while_listening(open_it))
        stack.callback(sources[-1].close)
    return sources


def require_unread(path: Path, option: str, sources: Sequence[Source]) -> None:
    """An output must not be written over a file that a source reads.

    Raises:
        SinkError: when it would be.
    """
    if any(_is_same(file, path) for source in sources for file in source.files):
        raise SinkError(f"{option} {path}: is read as a source; choose another name.")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # not there yet
        return False


def _while_listening(open_it: Callable[[], Source]) -> Source:
    """Do in another thread what may hang in a driver or for the network: Ctrl-C does not wait."""
    opened: list[Source] = []
    failed: list[BaseException] = []
    # Not Thread.is_alive(): a join that a signal interrupts takes a thread that runs for ended
    # (Python up to 3.12).
    done = threading.Event()

    def work() -> None:
        try:
            opened.append(open_it())
        except BaseException as exc:
            failed.append(exc)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="edgeproof-opening", daemon=True)
    with _leave_it_hanging(done):
        thread.start()
        while not done.wait(_POLL_S):
            pass
    if failed:
        raise failed[0]
    return opened[0]


@contextlib.contextmanager
def _leave_it_hanging(done: threading.Event) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if done.is_set():
            raise
        # The tidy end of an interpreter would wait for the driver, or crash under it.
        print("edgeproof: interrupted", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(INTERRUPTED)
