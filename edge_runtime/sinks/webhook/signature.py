"""How a receiver knows that a call came from us, just now, and as it was sent."""

from __future__ import annotations

import hashlib
import hmac
import re
import time

HEADER = "Edgeproof-Signature"
_FORM = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


def signature(secret: str, body: bytes, at: int) -> str:
    """The header's value: HMAC-SHA256 over the time, a dot and the body.

    Args:
        at: when it is sent, in seconds since 1970.
    """
    signed = b"%d." % at + body
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def is_signed(
    secret: str, body: bytes, header: str, *, within_s: float = 300.0, now: float | None = None
) -> bool:
    """For receivers: whether `header` is the signature of `body`, made at most so long ago.

    A call that somebody recorded and sends again later is too old.
    """
    found = _FORM.fullmatch(header.strip())
    if found is None:
        return False
    at = int(found[1])
    if abs((time.time() if now is None else now) - at) > within_s:
        return False
    return hmac.compare_digest(signature(secret, body, at), header.strip())
