"""What a device answers: objects out of JSON, of which nothing is taken for granted.

Our own steps wrote them, in a Python and on a disk that may be anybody's by now.
"""

from __future__ import annotations

import json
import math
from typing import Any

from devices.deploy.errors import DeployError
from devices.deploy.text import printable


class Answer(dict[str, Any]):
    """An object that a device sent; asking for what it lacks is one line, not a traceback.

    Attributes:
        where: which device, for that line.
    """

    where = "the device"

    def __missing__(self, key: str) -> Any:
        raise DeployError(f"{self.where}: answers without {key!r}, which is no answer of ours")

    def number(self, key: str) -> float | None:
        """A finite number; None for anything else."""
        return finite(self.get(key))

    def text(self, key: str) -> str:
        """As one line that steers no terminal; empty for nothing."""
        found = self.get(key)
        return "" if found is None else printable(found)

    def inner(self, key: str) -> Answer:
        """An object in it; an empty one for anything else."""
        found = self.get(key)
        return found if isinstance(found, Answer) else Answer()

    def items_of(self, key: str) -> list[Any]:
        """A list in it; an empty one for anything else."""
        found = self.get(key)
        return found if isinstance(found, list) else []

    def objects(self, key: str) -> list[Answer]:
        """The objects of a list in it."""
        return [item for item in self.items_of(key) if isinstance(item, Answer)]


def read_answer(text: str, where: str) -> Answer:
    """An object out of JSON; an empty one for anything else."""

    def made(pairs: dict[str, Any]) -> Answer:
        answer = Answer(pairs)
        answer.where = where
        return answer

    try:
        # NaN is no JSON, and would be none when it is printed again.
        found = json.loads(text, object_hook=made, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return Answer()
    return found if isinstance(found, Answer) else Answer()


def finite(value: object) -> float | None:
    """Of what JSON holds: a number that can be shown and compared; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an int of a thousand digits
        return None
