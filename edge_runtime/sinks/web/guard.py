"""Who may look at the page, and what a browser is told to keep to.

Before any page is made, a request must be meant for this server (DNS rebinding), must not come from
another site's page, and where a token is demanded, must have it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_runtime.sinks.addresses import is_meant_for
from edge_runtime.sinks.tokens import bearer, is_token

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'sha256-{style}'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_LOGIN = "/login"
# What the login page looks like holds no secret.
_OPEN_TO_ALL = {"/icon.svg"}
_MOST_FORM_BYTES = 1024
_COOKIE_S = 7 * 24 * 3600
# Wrong tokens from one address: so many in so long.
_TRIES, _TRIES_S, _ADDRESSES = 5, 60.0, 256


class Tries:
    """How many wrong tokens came from each address lately."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        since = time.monotonic() - _TRIES_S
        return sum(at > since for at in self._wrong.get(address, ())) >= _TRIES

    def add(self, address: str) -> None:
        self._wrong.setdefault(address, []).append(time.monotonic())
        self._wrong[address] = self._wrong[address][-_TRIES:]
        self._wrong.move_to_end(address)
        while len(self._wrong) > _ADDRESSES:
            self._wrong.popitem(last=False)


class Guard:
    """Stands before the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        token: str | None,
        login_page: str,
        style: str,
    ) -> None:
        """Args:
        host: what the server was told to listen at.
        token: `None` where whoever reaches the server may look.
        login_page: shown to who has none; its form posts `token` to `/login`.
        style: the one style sheet that pages may have in them.
        """
        self._app, self._host, self._token, self._login_page = app, host, token, login_page
        # Cookies know no ports: two runs on one device must not take each other's.
        self._cookie = f"edgeproof_{port}"
        self._tries = Tries()
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._headers = {"content-security-policy": _POLICY.format(style=digest), **_HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = await self._refusal(Request(scope, receive))
        await (answer or self._app)(scope, receive, _with_headers(send, self._headers))

    async def _refusal(self, request: Request) -> Response | None:
        """What is answered instead of the page; `None` for who may look."""
        if not is_meant_for(request.headers.get("host", ""), self._host):
            return PlainTextResponse(
                "This device is not called so. Use its address instead of that name.\n", 421
            )
        if _is_from_another_site(request.headers):
            return PlainTextResponse("Requests from another site's page are refused.\n", 403)
        if request.method != "GET" and (request.method, request.url.path) != ("POST", _LOGIN):
            return PlainTextResponse("Here is only something to look at.\n", 405)
        if self._token is None or request.url.path in _OPEN_TO_ALL:
            return None
        return await self._login(request)

    async def _login(self, request: Request) -> Response | None:
        given = await _given_token(request)
        if given is None:
            if hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self._pass()):
                return None
            return self._ask_for_it(request, 401)
        address = request.client.host if request.client else ""
        # A token is too long to be guessed, and who has it is not made to wait for others who share
        # his address. Wrong ones are limited all the same.
        if not is_token(given, self._token or ""):
            if self._tries.too_many(address):
                wait = {"retry-after": str(int(_TRIES_S))}
                return PlainTextResponse("Too many wrong tokens; wait a minute.\n", 429, wait)
            self._tries.add(address)
            return self._ask_for_it(request, 403)
        if "authorization" in request.headers:
            return None
        # Away with the token from the address, where it would stay in the browser's history.
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            self._cookie,
            self._pass().decode(),
            max_age=_COOKIE_S,
            httponly=True,
            samesite="lax",
        )
        return answer

    def _pass(self) -> bytes:
        """What the cookie holds: it opens the page, and does not tell the token."""
        key = (self._token or "").encode()
        return hmac.new(key, b"edgeproof page", hashlib.sha256).hexdigest().encode()

    def _ask_for_it(self, request: Request, status: int) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("A token is needed: Authorization: Bearer TOKEN\n", status)
        wrong = "" if status == 401 else "That was not it."
        return HTMLResponse(self._login_page.replace("{{wrong}}", wrong), status)


def _is_from_another_site(headers: Headers) -> bool:
    """Whether a page of another origin made the request, but for a link that was followed."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        followed = headers.get("sec-fetch-dest") == "document"
        return site not in ("same-origin", "none") and not followed
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != headers.get("host")
    except ValueError:  # no address at all
        return True


async def _given_token(request: Request) -> str | None:
    """The token that a request has, from its header, its address or the login form."""
    given = bearer(request.headers.get("authorization", ""))
    if given is not None:
        return given
    if request.method == "POST":
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_FORM_BYTES:
                return ""
        return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
    return request.query_params.get("token") if request.url.path == "/" else None


def _with_headers(send: Send, added: Mapping[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in added.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
