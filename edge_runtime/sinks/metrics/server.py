"""A small server for Prometheus: a few requests at a time, none of them for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from edge_runtime.sinks.addresses import is_meant_for
from edge_runtime.sinks.tokens import bearer, is_token

_REQUEST_S = 5.0
_AT_ONCE = 8


class MetricsServer:
    """Answers `/metrics` from threads of its own."""

    def __init__(
        self,
        listening: socket.socket,
        host: str,
        registry: CollectorRegistry,
        token: str | None = None,
    ) -> None:
        """Args:
        listening: is closed in the end.
        host: what was asked for, by which requests may call it.
        token: what they must have; `None` where whoever reaches the server may read.
        """
        self._server = _Server(listening)
        self._server.set_app(_only_for(host, token, make_wsgi_app(registry)))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="edgeproof-metrics", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    # Whoever connects and says nothing gives its thread back.
    timeout = _REQUEST_S

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads a log of scrapes."""

    def address_string(self) -> str:
        return str(self.client_address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        host, port = listening.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        # Not by HTTPServer, which asks the network for this machine's name, and waits for it.
        self.server_name, self.server_port = host, port
        self.setup_environ()
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's error."""


def _only_for(
    host: str, token: str | None, app: Callable[..., Iterable[bytes]]
) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        plain = [("Content-Type", "text/plain; charset=utf-8")]
        if not is_meant_for(environ.get("HTTP_HOST", ""), host):
            start_response("421 Misdirected Request", plain)
            return [b"This is not the host that you asked for.\n"]
        given = bearer(environ.get("HTTP_AUTHORIZATION", "")) or ""
        if token is not None and not is_token(given, token):
            start_response("401 Unauthorized", [*plain, ("WWW-Authenticate", "Bearer")])
            return [b"A token is needed: Authorization: Bearer TOKEN\n"]
        if environ["PATH_INFO"] not in ("/metrics", "/"):
            start_response("404 Not Found", plain)
            return [b"The metrics are at /metrics.\n"]
        return app(environ, start_response)

    return answer
