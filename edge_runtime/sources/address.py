"""Network addresses as they may be shown: without whatever in them could be a secret."""

from __future__ import annotations

import re

# Anything else FFmpeg knows (file:, concat:, data:, ...) is no camera.
SCHEMES = ("rtsp", "rtsps", "http", "https")
DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
_SECRET = re.compile(r"(pass|pwd|token|secret|auth|key)\w*=|:[^/]*@", re.IGNORECASE)


def scheme_of(text: str) -> str:
    """The scheme in lower case, such as "rtsp"; empty when the text is no address."""
    found = _SCHEME.match(text)
    return found[1].lower() if found and text[found.end() :].startswith("//") else ""


def host_of(url: str) -> tuple[str, int] | None:
    """Host and port of an address; `None` when they cannot be told from its secrets.

    A password with an unescaped "/", "?", "#" or "@" makes it unclear where the host begins:
    rather no host than a part of the password.
    """
    scheme = scheme_of(url)
    rest = url.strip()[len(scheme) + 3 :]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    found = _HOST.fullmatch(authority.rsplit("@", 1)[-1])
    if not scheme or not found or "@" in rest[len(authority) :]:
        return None
    port = int(found[2]) if found[2] else DEFAULT_PORTS.get(scheme, 0)
    return (found[1], port) if port < 65536 else None


def shown(url: str) -> str:
    """The address with its scheme, host and port only.

    User name, path and query are left out whole: cameras take passwords and tokens in each.
    """
    scheme, host = scheme_of(url), host_of(url)
    if host is None:
        return f"{scheme}://..."
    explicit = "" if host[1] == DEFAULT_PORTS.get(scheme, 0) else f":{host[1]}"
    return f"{scheme}://{host[0]}{explicit}"


def shown_path(text: str) -> str:
    """What was given for a path, unless it rather is an address with a slip in it."""
    found = _SCHEME.match(text)
    if _SECRET.search(text) or (found and found[1].lower() in SCHEMES):
        return "what was given (not shown, as it may hold a password)"
    return text
