"""Is the release that runs healthy? Judged by its service and by the status file that it writes.

The status file is a JSON object: `pid`; `at` (seconds since 1970, when it was written); `frames`
and `answered` (since the start); `fps`; `age_ms` (of the newest frame at its answer); `live`;
`answers` (the last few, each with `label` and `score`, null for no number); `conditions` (of frames
that were not answered: black, frozen, stale).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, TypeGuard


@dataclass(frozen=True)
class Limits:
    """What a healthy release keeps.

    Attributes:
        start_s: within how many seconds of the start the first frame must come.
        still_s: for how many seconds frames may stop.
        age_ms: how old a live frame may be at its answer.
        answered: whether frames must be answered; not where the release before had none either
            (a lens that is covered is no fault of the new one).
    """

    start_s: float
    still_s: float
    age_ms: float
    answered: bool = True


class Watch:
    """Looks at samples of service and status, and says what is wrong.

    Args:
        pid: the process that systemd started; another one later means that it was restarted.
    """

    def __init__(self, limits: Limits, pid: int | None) -> None:
        self._limits, self._pid = limits, pid
        self._began_s = self._moved_s = time.monotonic()
        self._frames = self._first = -1

    def flows(self) -> bool:
        """Whether frames have come since the watch began."""
        return self._frames > self._first

    def trouble(self, service: dict[str, Any], status: dict[str, Any]) -> str:
        """What is wrong by now; empty when nothing is."""
        if service["active"] not in ("active", "activating", "reloading"):
            return f"its service is {service['active']} ({service['sub'] or 'no more'})"
        if service["pid"] != self._pid:
            return "it ended and was started again"
        mine = status if status.get("pid") == self._pid else {}
        return self._flow(mine) or self._sanity(mine)

    def unanswered(self, status: dict[str, Any]) -> str:
        """At the end of the watch: were any frames answered?"""
        if not self._limits.answered or status.get("answered"):
            return ""
        conditions = status.get("conditions")
        why = ", ".join(f"{n} {name}" for name, n in (conditions or {}).items())
        return f"no frame was answered ({why or 'none said why'})"

    def _flow(self, status: dict[str, Any]) -> str:
        frames = status.get("frames")
        now_s = time.monotonic()
        if isinstance(frames, int) and frames != self._frames:
            if self._first < 0:
                self._first = frames if frames == 0 else frames - 1
            self._frames, self._moved_s = frames, now_s
        if self._frames <= 0:
            if now_s - self._began_s > self._limits.start_s:
                return f"no frame was answered within {self._limits.start_s:.0f} s of its start"
        elif now_s - self._moved_s > self._limits.still_s:
            return f"frames stopped {now_s - self._moved_s:.0f} s ago"
        return ""

    def _sanity(self, status: dict[str, Any]) -> str:
        age_ms = status.get("age_ms")
        if status.get("live") and _is_number(age_ms) and age_ms > self._limits.age_ms:
            limit_ms = self._limits.age_ms
            return f"frames are {age_ms:.0f} ms old at their answer; {limit_ms:.0f} may be"
        answers = status.get("answers")
        for answer in answers if isinstance(answers, list) else []:
            score = answer.get("score") if isinstance(answer, dict) else None
            if not _is_number(score) or not 0 <= score <= 1:
                return f"it answered a score of {score!r}, which is no probability"
        return ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
