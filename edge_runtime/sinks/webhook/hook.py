"""One call of a webhook: where it goes, and what its answer means."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

from edge_runtime.errors import OptionError
from edge_runtime.secret import read_secret
from edge_runtime.sinks.webhook.signature import HEADER, signature
from edge_runtime.sources.address import host_of, shown

SECRET_VARIABLE = "EDGEPROOF_WEBHOOK_SECRET"
# Whoever says "later" for longer than this would have us keep old news.
LONGEST_WAIT_S = 300.0
_MOST_REDIRECTS = 3
# Worth another try, besides all of 5xx.
_LATER = {408, 425, 429}


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        kind: taken; to be tried again later; or never to be taken.
        why: in words; empty where it was taken.
        after_s: how long the receiver asked us to wait; `None` where it did not.
    """

    kind: Literal["taken", "later", "never"]
    why: str = ""
    after_s: float | None = None


@dataclass(frozen=True)
class Hook:
    """An address that takes JSON.

    Attributes:
        path: with the query; it may itself be a secret, and is never shown.
        secret: what calls are signed with; `None` for unsigned ones.
        ca: certificates to trust instead of the system's.
        timeout_s: for connecting, and for each wait; a call takes at most twice that.
    """

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    ca: Path | None = None
    timeout_s: float = 10.0

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        secret_file: Path | None = None,
        ca: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Hook:
        """Read `http(s)://HOST[:PORT]/PATH`, or `file:NAME` of a file that holds such an address.

        Raises:
            OptionError: when it is none, or a file cannot be read.
        """
        if url.startswith("file:"):
            url = read_secret(Path(url.removeprefix("file:")), "", flag="--webhook") or ""
        url = url.strip()
        place = host_of(url) if re.match(r"https?://", url) else None
        if place is None or re.search(r"[\s\x00-\x1f\x7f]", url) or not url.isascii():
            raise OptionError(
                "--webhook: write http://HOST/PATH, https://HOST/PATH, or file:NAME of a file "
                "that holds the address."
            )
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise OptionError(
                f"--webhook: no user and password in the address; calls are signed with "
                f"--webhook-secret-file or {SECRET_VARIABLE}."
            )
        if ca is not None and parts.scheme != "https":
            raise OptionError("--webhook-ca goes with an https:// address.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        hook = cls(
            parts.scheme,
            place[0].strip("[]"),
            place[1],
            path,
            read_secret(secret_file, SECRET_VARIABLE, environment, flag="--webhook-secret-file"),
            ca,
        )
        hook.tls_context()  # raises now, not with the first change
        return hook

    @property
    def name(self) -> str:
        """What to call it; never holds a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return shown(f"{self.scheme}://{host}:{self.port}")

    def tls_context(self) -> ssl.SSLContext | None:
        """What to trust; `None` for http. Raises OptionError when `ca` cannot be read."""
        return _tls_context(self.ca) if self.scheme == "https" else None

    @property
    def is_open_wire(self) -> bool:
        """Whether what is sent would be seen on a network."""
        here = self.host in ("localhost", "::1") or self.host.startswith("127.")
        return self.scheme == "http" and not here


@cache
def _tls_context(ca: Path | None) -> ssl.SSLContext:
    # The system's authorities take tens of milliseconds to read: once for all calls.
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as exc:
        raise OptionError(f"--webhook-ca {ca}: holds no certificates in PEM form.") from exc


class Call:
    """One call, which another thread can end."""

    def __init__(self, hook: Hook, body: bytes, delivery: str) -> None:
        """Args: delivery: the same each time a call is tried again, so that it counts once."""
        self._hook, self._body, self._delivery = hook, body, delivery
        self._connection: http.client.HTTPConnection | None = None
        self._ended = False

    def make(self) -> Outcome:
        """Send it, and say what the answer means; takes at most twice `timeout_s`."""
        watch = threading.Timer(2 * self._hook.timeout_s, self.end)
        watch.daemon = True
        watch.start()
        try:
            outcome = self._follow(self._hook.path)
            # Headers that were cut off by us would pass for whole ones.
            return Outcome("later", "no answer in time") if self._ended else outcome
        except (OSError, http.client.HTTPException, ValueError) as exc:
            why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            late = self._ended or isinstance(exc, TimeoutError)
            return Outcome("later", "no answer in time" if late else why)
        finally:
            watch.cancel()
            if self._connection is not None:
                self._connection.close()

    def end(self) -> None:
        """Break it off."""
        self._ended = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _follow(self, path: str) -> Outcome:
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._ask(path)
            location = response.headers.get("Location", "")
            if response.status not in (307, 308) or not location:
                return _outcome(response)
            target = urlsplit(urljoin(f"{self._origin()}{path}", location))
            if (target.scheme, target.hostname, target.port or _port(target.scheme)) != (
                *(self._hook.scheme, self._hook.host.lower(), self._hook.port),
            ):
                return Outcome("never", "it redirects to another host, which is not followed")
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return Outcome("never", "it redirects without end")

    def _origin(self) -> str:
        host = f"[{self._hook.host}]" if ":" in self._hook.host else self._hook.host
        return f"{self._hook.scheme}://{host}:{self._hook.port}"

    def _ask(self, path: str) -> http.client.HTTPResponse:
        if self._ended:
            raise TimeoutError
        hook, context = self._hook, self._hook.tls_context()
        if self._connection is not None:
            self._connection.close()
        if context is None:
            self._connection = http.client.HTTPConnection(
                hook.host, hook.port, timeout=hook.timeout_s
            )
        else:
            self._connection = http.client.HTTPSConnection(
                hook.host, hook.port, timeout=hook.timeout_s, context=context
            )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "edgeproof",
            "Edgeproof-Delivery": self._delivery,
            "Connection": "close",
        }
        if hook.secret:
            headers[HEADER] = signature(hook.secret, self._body, int(time.time()))
        self._connection.request("POST", path, self._body, headers)
        return self._connection.getresponse()


def _outcome(response: http.client.HTTPResponse) -> Outcome:
    status = response.status
    if 200 <= status < 300:
        return Outcome("taken")
    why = f"it answers {status}"
    if status >= 500 or status in _LATER:
        return Outcome("later", why, _retry_after_s(response.headers.get("Retry-After", "")))
    if 300 <= status < 400:
        why += ", a redirect that would lose what is sent; give the address that it leads to"
    return Outcome("never", why)


def _retry_after_s(text: str) -> float | None:
    """Seconds to wait, of a header that has seconds or a date; `None` where it has neither."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}", text):
        return min(float(text), LONGEST_WAIT_S)
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        return min(max(0.0, when.timestamp() - time.time()), LONGEST_WAIT_S)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _port(scheme: str) -> int:
    return {"http": 80, "https": 443}.get(scheme, 0)
