"""What was found out about a result in the loop's thread, for when its sink is given it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from edge_runtime.pipeline import Result

T = TypeVar("T")
# More than any queue of pictures holds; what a full queue dropped is never asked for.
_MOST = 256


class Noted(Generic[T]):
    """Notes by result, of which the newest are kept. One thread puts, another may take."""

    def __init__(self) -> None:
        self._notes: OrderedDict[tuple[str, int], T] = OrderedDict()

    def put(self, result: Result, note: T) -> None:
        self._notes[result.frame.source, result.frame.index] = note
        while len(self._notes) > _MOST:
            self._notes.popitem(last=False)

    def take(self, result: Result) -> T | None:
        return self._notes.pop((result.frame.source, result.frame.index), None)
