"""Text from a device on its way to a terminal."""

from __future__ import annotations


def printable(text: object, longest: int = 300) -> str:
    """As one line that steers no terminal: what does not print is replaced."""
    words = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    return line if len(line) <= longest else f"{line[:longest]}…"
