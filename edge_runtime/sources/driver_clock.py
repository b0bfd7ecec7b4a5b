"""Capture times by a driver's own stamps, where these are on our clock."""

from __future__ import annotations

# A first picture older than this was stamped by another clock, such as the wall clock.
_PLAUSIBLE_S = 10.0


class DriverClock:
    """Decides by the first stamp whether stamps are on the monotonic clock, as perf_counter is.

    Once they are, they are believed however old: a picture may have waited for hours, in a
    process that was stopped.
    """

    def __init__(self) -> None:
        self._believed: bool | None = None

    def captured_s(self, stamp_s: float, now_s: float) -> float:
        """When the picture was captured; `now_s` where the stamp does not say."""
        if self._believed is None:
            self._believed = 0 <= now_s - stamp_s < _PLAUSIBLE_S
        return min(stamp_s, now_s) if self._believed and stamp_s > 0 else now_s
