"""The root of edgeproof's one exception tree, and the errors of `devices`."""

from __future__ import annotations

from collections.abc import Iterable


class EdgeproofError(Exception):
    """Base of every error edgeproof raises on purpose.

    Its text is one line for the user: what is wrong, where, and what to do next. The command line
    prints it without a traceback and exits with `exit_code`.

    Attributes:
        exit_code: process exit status, 1 to 255. A subclass may set another.
    """

    exit_code: int = 1


class UnknownDeviceError(EdgeproofError, LookupError):
    """No profile has that name, or none suits the machine."""


class ProfileError(EdgeproofError, ValueError):
    """A profile file cannot be read, or says something it must not."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The end of an error message: " Did you mean 'x'?" with the nearest name, or nothing."""
    import difflib  # only on the way to an error

    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
