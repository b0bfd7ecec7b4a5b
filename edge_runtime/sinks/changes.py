"""When an answer is news to somebody far away: on a change, and not thirty times a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.pipeline import Result

# An answer that flutters is told once a second; whoever wants every frame reads JSON Lines.
CAMERA_GAP_S = 1.0


@dataclass(frozen=True, eq=False)
class Change:
    """A source's answer has become another.

    Attributes:
        result: the first frame with the new answer that was not held back; at the end of a run
            without its picture.
        before: the answer told before it; `None` for none.
    """

    result: Result
    before: str | None


@dataclass
class _Told:
    """What was last told of a source, and what has come since."""

    said: tuple[str, str] | None = None
    label: str | None = None
    at_s: float = float("-inf")
    newest: Result | None = None


class Changes:
    """Picks the results that are news, for each source by itself.

    After a change, the next of the same source is told no sooner than `gap_s` later, and is then
    the newest. A picture of a folder is always news: it is another picture.
    """

    def __init__(self, gaps_s: Mapping[str, float] | None = None) -> None:
        """Args: gaps_s: by the source's name; a source that is not in it has a camera's."""
        self._gaps_s = dict(gaps_s or {})
        self._told: dict[str, _Told] = {}

    def take(self, result: Result) -> Change | None:
        """The change that this result is, if it is one to be told now."""
        if result.is_repeat:
            return None
        told = self._told.setdefault(result.frame.source, _Told())
        told.newest = result.without_pixels()  # a picture each would be kept for ever
        captured_s = result.frame.captured_s
        gap_s = self._gaps_s.get(result.frame.source, CAMERA_GAP_S)
        if not self._is_news(told, result) or captured_s - told.at_s < gap_s:
            return None
        return self._tell(told, result)

    def rest(self) -> list[Change]:
        """At the end: the last answers of sources where they were held back."""
        return [
            self._tell(told, told.newest)
            for told in self._told.values()
            if told.newest is not None and self._is_news(told, told.newest)
        ]

    def _is_news(self, told: _Told, result: Result) -> bool:
        return _said(result) != told.said

    def _tell(self, told: _Told, result: Result) -> Change:
        change = Change(result, before=told.label)
        told.said, told.at_s = _said(result), result.frame.captured_s
        told.label = result.answer.label if result.answer else None
        return change


def gaps_s(sources: Mapping[str, bool], asked: float | None = None) -> dict[str, float]:
    """The pause after a change for each source.

    Args:
        sources: whether it is live, by its name: of a file, each change is told.
        asked: the user's wish for all of them.
    """
    default = {True: CAMERA_GAP_S, False: 0.0}
    return {name: default[live] if asked is None else asked for name, live in sources.items()}


def _said(result: Result) -> tuple[str, str]:
    """What a person would hear: the answer, or why there is none; of a picture, also which."""
    what = result.answer.label if result.answer else f"\0{result.frame.condition}"
    return what, result.frame.name or ""
