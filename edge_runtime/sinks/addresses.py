"""Addresses that a sink listens at, and which requests are meant for them."""

from __future__ import annotations

import ipaddress
import socket

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.text import one_line

LOOPBACK = "127.0.0.1"


def parse_address(text: str, *, flag: str, port: int) -> tuple[str, int]:
    """Read `HOST:PORT`, `HOST`, `:PORT` or `PORT`; IPv6 in brackets, as `[::1]:80`.

    Args:
        port: unless one is given.

    Raises:
        OptionError: when it is none of these.
    """
    host, colon, number = text.strip().rpartition(":")
    if text.strip().isdecimal():
        host, number = "", text.strip()
    elif not colon or number.endswith("]"):
        host, number = text.strip(), str(port)
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not (number.isdecimal() and int(number) < 65536) or any(c.isspace() for c in host):
        raise OptionError(f"{flag} {one_line(text)}: write HOST:PORT, such as 0.0.0.0:{port}.")
    return host, int(number)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int, *, flag: str) -> socket.socket:
    """A socket that listens.

    Raises:
        SinkError: when the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise SinkError(f"{flag} {one_line(host)}: {exc.strerror or exc}.") from exc
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(64)
    except OSError as exc:
        made.close()
        why = exc.strerror or str(exc)
        raise SinkError(
            f"{flag} {one_line(host)}:{port}: {why}; choose another address or port."
        ) from exc
    return made


def url_of(listening: socket.socket, path: str = "/") -> str:
    """Where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1" if listening.family == socket.AF_INET else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


def is_meant_for(asked_host: str, listening_host: str) -> bool:
    """Whether a request's `Host` is one that this server is called by.

    A page elsewhere on the web can have its own name point to an address of this machine (DNS
    rebinding); a browser then sends that name. An address cannot be pointed elsewhere.

    Args:
        asked_host: the header, such as `127.0.0.1:8080`.
        listening_host: what was asked for when it was started: a name or an address.
    """
    host = asked_host.strip().lower()
    if not host.endswith("]"):  # [::1] without a port
        name, colon, port = host.rpartition(":")
        host = name if colon and port.isdecimal() else host
    host = host.removeprefix("[").removesuffix("]").rstrip(".")
    own = {"localhost", listening_host.lower(), socket.gethostname().lower()}
    own |= {f"{name}.local" for name in own if "." not in name and ":" not in name}
    if host in own:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
