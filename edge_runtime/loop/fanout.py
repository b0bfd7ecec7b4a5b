"""All sinks of a run as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import cast

from edge_runtime.loop.callback import CallbackSink
from edge_runtime.loop.queued import QueuedSink, SinkCount
from edge_runtime.loop.results import Result, Sink
from edge_runtime.sources import SourceEvent

# How long what waits may take when nobody is in a hurry: the sources have ended.
FLUSH_S = 5.0
_POLL_S = 0.05


class Fanout:
    """Hands every result to each sink, and closes them together."""

    def __init__(
        self,
        sinks: Sequence[Sink | Callable[[Result], object]],
        *,
        live: bool,
        stop: Event,
    ) -> None:
        """Args:
        sinks: a function is called in a thread of its own.
        live: a camera does not wait for a function; a file does.
        stop: set when the run shall end soon.
        """
        self._stop, self._hurried = stop, False
        self._sinks = [_as_sink(sink, live, stop) for sink in sinks]

    def write(self, result: Result) -> None:
        for sink in self._sinks:
            sink.write(result)

    def event(self, event: SourceEvent) -> None:
        for sink in self._sinks:
            if hasattr(sink, "event"):
                sink.event(event)

    def end(self) -> None:
        """Nothing more will come: what has a thread of its own shall finish. Returns at once.

        The last sink is the terminal: it ends after the others, which may have something to say.
        """
        for sink in self._sinks[:-1]:
            if isinstance(sink, QueuedSink):
                sink.end()

    def hurry(self) -> None:
        """The user wants the end, and not to wait for what waits."""
        self._hurried = True

    def close(self) -> None:
        """Close every sink, also when an earlier one fails; then raise the first failure.

        Those with a thread of their own have `FLUSH_S` together; when the run was stopped, each
        its `finish_s`.
        """
        self.end()
        until_s = time.perf_counter() + FLUSH_S
        failures: list[Exception] = []
        for sink in self._sinks:
            if isinstance(sink, QueuedSink):
                self._wait_for(sink, until_s)
            try:
                sink.close()
            except Exception as exc:
                failures.append(exc)
        if failures:
            raise failures[0]

    @property
    def counts(self) -> dict[str, SinkCount]:
        """What became of the results, for each sink with a queue."""
        found: dict[str, SinkCount] = {}
        for sink in self._sinks:
            if not isinstance(sink, QueuedSink):
                continue
            alike = sum(name.partition(" ")[0] == sink.name for name in found)
            found[f"{sink.name} {alike + 1}" if alike else sink.name] = sink.count
        return found

    def _wait_for(self, sink: QueuedSink, until_s: float) -> None:
        sink.end()
        while not sink.wait(_POLL_S):
            if self._hurried or self._stop.is_set() or time.perf_counter() > until_s:
                return


def _as_sink(given: Sink | Callable[[Result], object], live: bool, stop: Event) -> Sink:
    if hasattr(given, "write"):
        return cast("Sink", given)
    sink = CallbackSink(given)
    return QueuedSink(
        sink,
        name=sink.name,
        capacity=8,
        pixels=True,
        patient_until=None if live else stop,
        fatal=True,
    )
