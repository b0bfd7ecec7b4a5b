"""The pages and streams of a run, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_runtime.faces import FaceBlur
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result
from edge_runtime.sinks.web.feeds import Feed
from edge_runtime.sinks.web.guard import Guard
from edge_runtime.sinks.web.pictures import snapshot, view
from edge_runtime.sinks.web.state import RunState
from edge_runtime.text import one_line

STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Each of a live view and its figures takes one.
MOST_STREAMS = 24
VIEW_S, PRESENT_S, PAST_S = 1 / 15, 0.2, 0.5
_BOUNDARY = b"edgeproof"


class Pages:
    """Everything that the server answers; made and used in the server's thread."""

    def __init__(
        self,
        state: RunState,
        region: Region | None,
        blur: FaceBlur | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args:
        region: what the model sees, drawn as a rectangle.
        blur: makes faces unrecognisable before a picture leaves the device.
        on_note: told, once, when a picture cannot be made.
        """
        self._state, self._region, self._blur = state, region, blur
        self._on_note, self._has_failed = on_note, False
        # One at a time: pictures for people never take more than one core from the model.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="edgeproof-view")
        self._events = Feed(self._next_event, PRESENT_S, on_error=self._say_once)
        self._views = [
            Feed(self._view_maker(number), VIEW_S, on_error=self._say_once)
            for number in range(len(state.cameras))
        ]
        self._past_due_s = 0.0

    def app(self, *, host: str, port: int, token: str | None) -> ASGIApp:
        """The whole application behind its guard."""
        routes = [Route(path, _file(name, kind)) for path, (name, kind) in _FILES.items()]
        routes += [
            Route("/about", self._about),
            Route("/events", self._stream_events),
            Route("/view/{number}", self._stream_view),
            Route("/snapshot/{number}", self._snapshot),
        ]
        return Guard(
            Starlette(routes=routes),
            host=host,
            port=port,
            token=token,
            login_page=_text("login.html"),
            style=_style(),
        )

    async def close(self) -> None:
        """All streams end."""
        for feed in (self._events, *self._views):
            await feed.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _about(self, request: Request) -> Response:
        return _json(self._state.about)

    async def _stream_events(self, request: Request) -> ASGIApp:
        return self._stream(self._events, b"", "text/event-stream")

    async def _stream_view(self, request: Request) -> ASGIApp:
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"
        feed = self._views[self._camera(request)]
        return self._stream(feed, b"--" + _BOUNDARY + b"\r\n", kind)

    def _stream(self, feed: Feed, head: bytes, kind: str) -> ASGIApp:
        """A response that goes on until its reader leaves, or the run ends."""
        if sum(f.readers for f in (self._events, *self._views)) >= MOST_STREAMS:
            return PlainTextResponse("Too many are looking already.\n", 503, {"retry-after": "10"})

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            sending = asyncio.create_task(_send_feed(feed, head, kind, send))
            leaving = asyncio.create_task(_until_left(receive))
            try:
                await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                leaving.cancel()

        return respond

    async def _snapshot(self, request: Request) -> Response:
        _, result = self._state.picture(self._camera(request))
        if result is None:
            return PlainTextResponse("There is no picture yet.\n", 503)
        data = await self._in_pool(snapshot, result)
        told = json.dumps(self._state.told(result), separators=(",", ":"))
        return Response(data, media_type="image/jpeg", headers={"edgeproof-answer": quote(told)})

    def _say_once(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._on_note(f"web: {one_line(str(error) or type(error).__name__)}")

    def _camera(self, request: Request) -> int:
        # Not by the route: it would take any number of digits, and Python refuses to read them.
        numbers = {str(number): number for number in range(len(self._state.cameras))}
        number = numbers.get(request.path_params["number"])
        if number is None:
            raise HTTPException(404, "There is no such camera.")
        return number

    async def _in_pool(self, make: Callable[[Result, Region | None], bytes], of: Result) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._draw, make, of)

    def _draw(self, make: Callable[[Result, Region | None], bytes], of: Result) -> bytes:
        return make(self._blur.result(of) if self._blur else of, self._region)

    async def _next_event(self, first: bool) -> bytes:
        """What is new, as a server-sent event; the past every other time or so."""
        loop = asyncio.get_running_loop()
        # Sensors on a slow bus take their time.
        told = await loop.run_in_executor(self._pool, self._state.present)
        if first or loop.time() >= self._past_due_s:
            self._past_due_s = loop.time() + PAST_S
            told["past"] = self._state.past()["cameras"]
        return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"

    def _view_maker(self, number: int) -> Callable[[bool], Awaitable[bytes | None]]:
        made = 0

        async def make(first: bool) -> bytes | None:
            nonlocal made
            version, result = self._state.picture(number)
            if result is None or (version == made and not first):
                return None
            made = version
            data = await self._in_pool(view, result)
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            # With the next boundary at once: browsers show a picture when it comes.
            return head + data + b"\r\n--" + _BOUNDARY + b"\r\n"

        return make


async def _send_feed(feed: Feed, head: bytes, kind: str, send: Send) -> None:
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": head, "more_body": True})
    async with contextlib.aclosing(feed.read()) as messages:
        async for message in messages:
            await send({"type": "http.response.body", "body": message, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    data = _text(name).encode()

    async def answer(request: Request) -> Response:
        return Response(data, headers={"content-type": kind})

    return answer


def _text(name: str) -> str:
    """A file of the page; the style sheet is in it, as another request would delay its painting."""
    text = (STATIC / name).read_text(encoding="utf-8")
    return text.replace("/*style*/", _style())


@cache
def _style() -> str:
    return (STATIC / "page.css").read_text(encoding="utf-8")


def _json(told: object) -> Response:
    return Response(json.dumps(told), media_type="application/json")
