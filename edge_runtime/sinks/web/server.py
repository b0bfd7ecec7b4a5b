"""uvicorn in a thread of its own, and what it must not let clients do."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_runtime.sinks.web.app import MOST_STREAMS, Pages
from edge_runtime.text import one_line

# Open at once; a browser has up to six.
_MOST_CONNECTIONS = MOST_STREAMS + 16
# Who neither asks nor reads for that long is let go.
PATIENCE_S = 10.0
_CLOSE_S = 0.4


class WebServer:
    """Answers browsers until it is closed."""

    def __init__(
        self,
        listening: socket.socket,
        pages: Callable[[], Pages],
        *,
        host: str,
        token: str | None,
        on_note: Callable[[str], None],
    ) -> None:
        """Args:
        listening: is closed in the end.
        pages: makes them, in the server's thread.
        host, token: see `Guard`.
        on_note: told when a page fails, which is a bug.
        """
        self._listening, self._pages = listening, pages
        self._host, self._token, self._on_note = host, token, on_note
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._begun = threading.Event()
        _hear_complaints(on_note)
        self._thread = threading.Thread(target=self._run, name="edgeproof-web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Safe to call twice."""
        if self._thread.ident is None:
            self._listening.close()
            return
        self._begun.wait(_CLOSE_S)
        if self._loop and self._end and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._end.set)
            except RuntimeError:  # it has just ended by itself
                return
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as exc:
            self._on_note(f"web: {one_line(str(exc) or type(exc).__name__)}; the run goes on")

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        pages = self._pages()
        port = self._listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                pages.app(host=self._host, port=port, token=self._token),
                http=_Impatient,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=0,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[self._listening]))
        ending = asyncio.create_task(self._end.wait())
        await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
        await pages.close()
        server.should_exit = server.force_exit = True
        await serving


class _Impatient(H11Protocol):
    """Lets go who keeps a place and does nothing with it.

    uvicorn itself waits for ever for the first request of a connection, and for who does not read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since: float | None = self.loop.time()
        self._next_look = self.loop.call_later(PATIENCE_S / 4, self._look)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._waiting_since = None  # it does read, however slowly

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Every little while: does it wait for its client, and for how long now?"""
        now, cycle = self.loop.time(), self.cycle
        asking = cycle is None or cycle.response_complete or cycle.more_body
        if not (asking or self.flow.write_paused or self.transport.is_closing()):
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > PATIENCE_S:
            self.transport.abort()
            return
        self._next_look = self.loop.call_later(PATIENCE_S / 4, self._look)


class _Complaints(logging.Handler):
    """Says that a page failed; what clients do wrong is not for the terminal."""

    def __init__(self, on_note: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._on_note = on_note

    def emit(self, record: logging.LogRecord) -> None:
        error: Any = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._on_note(f"web: {one_line(f'{type(error).__name__}: {error}')}")


def _hear_complaints(on_note: Callable[[str], None]) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.propagate = False
    logger.handlers = [_Complaints(on_note)]
