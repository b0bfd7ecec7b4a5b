"""Tokens that a server beyond this machine asks for."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from edge_runtime.errors import OptionError
from edge_runtime.secret import read_secret

_SHORTEST, _LONGEST = 16, 512


def given_token(file: Path | None, variable: str, *, flag: str) -> str | None:
    """The user's token, from `file` or else the environment; `None` where there is neither.

    Raises:
        OptionError: when it cannot be read, or is too easily guessed.
    """
    token = read_secret(file, variable, flag=flag)
    if token is None:
        return None
    token = token.strip()
    if not (_SHORTEST <= len(token) <= _LONGEST and token.isprintable()):
        where = f"{flag} {file}" if file else variable
        raise OptionError(f"{where}: a token has {_SHORTEST} to {_LONGEST} characters.")
    return token


def is_token(given: str, token: str) -> bool:
    """Whether they are the same; how long that takes tells nothing, not even of their lengths."""
    return hmac.compare_digest(_digest(given), _digest(token))


def bearer(authorization: str) -> str | None:
    """The token of an `Authorization: Bearer TOKEN` header; `None` for any other."""
    kind, _, token = authorization.partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
