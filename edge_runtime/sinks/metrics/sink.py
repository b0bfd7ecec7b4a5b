"""Counters and histograms of a run, and the server that Prometheus reads them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import OptionError
from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.addresses import LOOPBACK, is_loopback, listen, parse_address, url_of
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.tokens import given_token
from edge_runtime.sources import SourceEvent
from edge_runtime.text import one_line

if TYPE_CHECKING:
    from edge_runtime.sinks.metrics.figures import Figures
    from edge_runtime.sinks.metrics.server import MetricsServer

PORT = 9464
TOKEN_VARIABLE = "EDGEPROOF_METRICS_TOKEN"


@dataclass(frozen=True)
class MetricsOptions(SinkOptions):
    """Attributes:
    metrics_address: where to listen; this machine only, unless told otherwise: whoever can reach
        it can read what the camera sees, class by class, and so must have the token.
    metrics_token_file: holds the token; else it is in the environment
        (`EDGEPROOF_METRICS_TOKEN`). None is made up here: Prometheus must know it before.
    """

    metrics: bool
    metrics_address: str = f"{LOOPBACK}:{PORT}"
    metrics_token_file: Path | None = None

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.metrics.figures import Figures
        from edge_runtime.sinks.metrics.server import MetricsServer

        flag = "--metrics-address"
        host, port = parse_address(self.metrics_address, flag=flag, port=PORT)
        token = given_token(self.metrics_token_file, TOKEN_VARIABLE, flag="--metrics-token-file")
        if token is None and not is_loopback(host):
            raise OptionError(
                f"{flag} {one_line(host)}: others can reach it, so that it takes a token: put one "
                "into a file, for --metrics-token-file here and credentials_file in Prometheus."
            )
        figures = Figures(opening)
        listening = listen(host, port, flag=flag)
        opening.note(f"metrics: {url_of(listening, '/metrics')}")
        return [MetricsSink(figures, MetricsServer(listening, host, figures.registry, token))]


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
