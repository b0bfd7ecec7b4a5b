"""Counters and histograms of a run, and the server that Prometheus reads them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.addresses import LOOPBACK, listen, parse_address, url_of
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sources import SourceEvent

if TYPE_CHECKING:
    from edge_runtime.sinks.metrics.figures import Figures
    from edge_runtime.sinks.metrics.server import MetricsServer

PORT = 9464


@dataclass(frozen=True)
class MetricsOptions(SinkOptions):
    """Attributes:
    metrics_address: where to listen; this machine only, unless told otherwise: whoever can reach
        it can read what the camera sees, class by class.
    """

    metrics: bool
    metrics_address: str = f"{LOOPBACK}:{PORT}"

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.metrics.figures import Figures
        from edge_runtime.sinks.metrics.server import MetricsServer

        flag = "--metrics-address"
        host, port = parse_address(self.metrics_address, flag=flag, port=PORT)
        figures = Figures(opening)
        listening = listen(host, port, flag=flag)
        opening.note(f"metrics: {url_of(listening, '/metrics')}")
        return [MetricsSink(figures, MetricsServer(listening, host, figures.registry))]


class MetricsSink:
    """Counts in the loop's thread, which takes microseconds; what is read, other threads read."""

    def __init__(self, figures: Figures, server: MetricsServer) -> None:
        self._figures, self._server = figures, server
        server.start()

    def write(self, result: Result) -> None:
        self._figures.add(result)

    def event(self, event: SourceEvent) -> None:
        self._figures.add_event(event)

    def close(self) -> None:
        self._server.close()
