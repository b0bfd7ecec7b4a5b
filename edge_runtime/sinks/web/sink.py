"""The page's options, and the sink that keeps it up to date."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.addresses import LOOPBACK, is_loopback, listen, url_of
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.tokens import given_token
from edge_runtime.sinks.web.state import RunState
from edge_runtime.sources import SourceEvent

if TYPE_CHECKING:
    from edge_runtime.sinks.web.server import WebServer

PORT = 8080
TOKEN_VARIABLE = "EDGEPROOF_WEB_TOKEN"


@dataclass(frozen=True)
class WebOptions(SinkOptions):
    """Attributes:
    host: name or address to listen at. Anywhere but on this machine alone, a token is demanded.
    web_token_file: holds the token; else it is in the environment (`EDGEPROOF_WEB_TOKEN`), or is
        made and told once.
    """

    web: bool
    host: str = LOOPBACK
    port: int = PORT
    web_token_file: Path | None = None

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.web.app import Pages
        from edge_runtime.sinks.web.server import WebServer

        token, made = self._token()
        listening = listen(self.host, self.port, flag="--host")
        state, region = RunState(opening), opening.options.region
        server = WebServer(
            listening,
            lambda: Pages(state, region, opening.blur, opening.note),
            host=self.host,
            token=token,
            on_note=opening.note,
        )
        opening.note(f"web: {_where(listening)}{f'?token={token}' if made else ''}")
        return [WebSink(state, server)]

    def _token(self) -> tuple[str | None, bool]:
        """The token, `None` for none, and whether it was made just now."""
        given = given_token(self.web_token_file, TOKEN_VARIABLE, flag="--web-token-file")
        if given is not None:
            return given, False
        if is_loopback(self.host):
            return None, False
        return secrets.token_urlsafe(24), True


class WebSink:
    """Hands what the page shows to the server's threads; nothing is encoded here."""

    def __init__(self, state: RunState, server: WebServer) -> None:
        self._state, self._server = state, server
        server.start()

    def write(self, result: Result) -> None:
        self._state.add(result)

    def event(self, event: SourceEvent) -> None:
        self._state.add_event(event)

    def close(self) -> None:
        self._server.close()


def _where(listening: socket.socket) -> str:
    """The address to tell: this machine's name, where others can reach it."""
    host, port = listening.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")
    return f"http://{socket.gethostname()}:{port}/" if everywhere else url_of(listening)
