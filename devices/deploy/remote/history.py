"""Every switch, with how it went; and which release one would go back to."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from devices.deploy.remote.place import Place

_GOOD = ("healthy", "switched")


def note_history(place: Place, **entry: Any) -> None:
    """Add a line; half a line that a power failure left before it gets its end first."""
    line = json.dumps({"at": round(time.time()), **entry}) + "\n"
    with place.history.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_history(place: Place) -> list[dict[str, Any]]:
    """What was switched to, oldest first; at most the last thousand."""
    found = []
    try:
        lines = place.history.read_bytes()[-(1 << 20) :].splitlines()[-1000:]
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(entry)
    return found


def previous_good(place: Place) -> str | None:
    """The good release that ran before the current one, and is still here.

    Going back is no deploy: who goes back twice gets to what ran before that, not forward again.
    """
    current = place.current_release()
    line = _line(read_history(place))
    older = line[: _last(line, current)] if current in line else line
    for name in reversed(older):
        if name != current and (place.releases / name).is_dir():
            return name
    return None


def _line(history: list[dict[str, Any]]) -> list[str]:
    """The good releases that led to what runs, oldest first."""
    line: list[str] = []
    for entry in history:
        name = str(entry.get("release"))
        if entry.get("outcome") not in _GOOD:
            continue
        if entry.get("back") and name in line:
            del line[_last(line, name) + 1 :]
        elif line[-1:] != [name]:
            line.append(name)
    return line


def _last(line: list[str], name: str | None) -> int:
    return max(index for index, each in enumerate(line) if each == name)
