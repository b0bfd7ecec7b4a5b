"""Why something of somebody else's failed, in a few words."""

from __future__ import annotations

import socket

from edge_runtime.text import one_line


def reason_of(exc: BaseException, text: str | None = None, *, longest: int = 200) -> str:
    """The network's own reason, where one is behind an exception; else what it says.

    Libraries wrap `Connection refused` into hundreds of characters.

    Args:
        text: what it says; `None`: its first sentence. Keras goes on to list every layer.
        longest: characters of it, before it is cut.
    """
    said = _first_sentence(exc) if text is None else text
    return _of_network(exc) or one_line(said, longest) or type(exc).__name__


def _of_network(exc: BaseException) -> str:
    seen: set[int] = set()
    inner: BaseException | None = exc
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        for each in (inner, getattr(inner, "reason", None)):  # urllib's and urllib3's
            if isinstance(each, (ConnectionError, TimeoutError, socket.gaierror)) and each.strerror:
                return each.strerror
        inner = inner.__cause__ or inner.__context__
    return ""


def _first_sentence(exc: BaseException) -> str:
    return " ".join(str(exc).split()).split(". ")[0].rstrip(".")
