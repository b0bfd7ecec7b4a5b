"""One sink for each source, where a sink can show only one."""

from __future__ import annotations

from edge_runtime.loop.results import Result, Sink


class OneSourceSink:
    """Hands on the results of one source, and leaves out the others'."""

    def __init__(self, sink: Sink, source: str) -> None:
        """Args: source: the name that its frames carry."""
        self._sink, self._source = sink, source

    def wants(self, result: Result) -> bool:
        """Whether it is of that source; others take no place in a queue."""
        return result.frame.source == self._source

    def write(self, result: Result) -> None:
        if self.wants(result):
            self._sink.write(result)

    def close(self) -> None:
        self._sink.close()
