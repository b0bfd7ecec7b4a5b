"""A function of one's own as a sink."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.loop.results import Result


class CallbackSink:
    """Calls a function with each result, in the thread that delivers it.

    `run(classifier, source, [function])` needs no such object: there the function is called in a
    thread of its own. This one is for a function that must be called in the thread of `run`.
    """

    def __init__(self, call: Callable[[Result], object]) -> None:
        self._call = call
        self.name = getattr(call, "__name__", type(call).__name__)

    def write(self, result: Result) -> None:
        self._call(result)

    def close(self) -> None:
        """There is nothing to finish."""
