"""Keeping native libraries' chatter off the user's terminal, and reading it where it says why."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

# Standard error is the whole process's: the first body in takes it away, the last gives it back.
_lock = threading.Lock()
_LONGEST_LOG_BYTES = 1 << 16
_bodies = 0
_kept = -1


T = TypeVar("T")


class Shared(Generic[T]):
    """A context of the whole process: the first of overlapping bodies enters it, the last leaves.

    Entered by each, `contextlib.redirect_stdout` and its like would give back to the process what
    another body had put there: two threads later, nothing that is printed arrives any more.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        """Args: make: the context, when there is none."""
        self._make = make
        self._lock = threading.Lock()
        self._bodies = 0
        self._context: AbstractContextManager[T] | None = None
        self._value: T | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[T]:
        with self._lock:
            if self._context is None:
                context = self._make()
                self._value = context.__enter__()
                self._context = context
            self._bodies += 1
            value: T = self._value  # type: ignore[assignment]  # there is a context, so it is set
        try:
            yield value
        finally:
            with self._lock:
                self._bodies -= 1
                if self._bodies == 0 and self._context:
                    context, self._context = self._context, None
                    context.__exit__(None, None, None)


@contextlib.contextmanager
def _python_output() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield said


# What Python code prints and warns of in the body; what other bodies print meanwhile is there, too.
python_output = Shared(_python_output)


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Silence what C++ code writes to standard error in the body; bodies may overlap in threads.

    TensorFlow Lite says "INFO: Created TensorFlow Lite XNNPACK delegate" there on every load and
    has no switch for it; its errors come as exceptions as well.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


@contextlib.contextmanager
def native_stderr() -> Iterator[Callable[[], str]]:
    """Silence it as well, and give a function that tells what was written so far.

    Some libraries say only there why they could not do as asked. Where bodies overlap, some of
    it may be another's or be missing: good for a message, not for a decision.
    """
    with quiet_native_stderr(), tempfile.TemporaryFile() as log:
        with _lock:
            before = os.dup(2) if _kept >= 0 else -1
            if before >= 0:
                os.dup2(log.fileno(), 2)

        def written() -> str:
            return os.pread(log.fileno(), _LONGEST_LOG_BYTES, 0).decode("utf-8", "replace")

        try:
            yield written
        finally:
            if before >= 0:
                os.dup2(before, 2)
                os.close(before)


def _enter() -> None:
    global _bodies, _kept
    with _lock:
        _bodies += 1
        if _bodies > 1:
            return
        try:
            _kept = os.dup(2)
        except OSError:  # no standard error at all, as in some services
            _kept = -1
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _leave() -> None:
    global _bodies, _kept
    with _lock:
        _bodies -= 1
        if _bodies == 0 and _kept >= 0:
            os.dup2(_kept, 2)
            os.close(_kept)
            _kept = -1
