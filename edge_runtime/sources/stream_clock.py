"""When a frame of a network stream was captured, as far as its arrival and stamp can tell.

A stream does not say by our clock when a frame was captured. But frames that were held up, in a
frozen camera or a cut network, come later than their place in the stream, and that is measured.
"""

from __future__ import annotations

from typing import Protocol

# The least delay is looked for in the last one to two of these: clocks drift apart by a tenth of a
# millisecond a second, and a delay must not be made of that.
_WINDOW_S = 30.0
_INERTIA = 8


class StreamClock(Protocol):
    """Capture times of one connection's frames, one after another."""

    def captured_s(self, arrived_s: float, stamp_s: float) -> float:
        """When the frame was captured, on the clock of `arrived_s`; see the classes."""


class StampClock:
    """By the stream's own time stamps (RTSP): a frame's delay beyond the least seen lately."""

    def __init__(self) -> None:
        self._window_s = self._least = self._least_before = 0.0
        self._stamp_s: float | None = None

    def captured_s(self, arrived_s: float, stamp_s: float) -> float:
        """Arrival less the delay. Stamps that run backwards begin a new reckoning."""
        delay = arrived_s - stamp_s
        if self._stamp_s is None or stamp_s < self._stamp_s:
            self._window_s, self._least, self._least_before = arrived_s, delay, delay
        elif arrived_s - self._window_s > _WINDOW_S:
            self._window_s, self._least, self._least_before = arrived_s, delay, self._least
        self._stamp_s = stamp_s
        self._least = min(self._least, delay)
        return arrived_s - (delay - min(self._least, self._least_before))


class ArrivalClock:
    """By arrival alone (MJPEG over HTTP): after a gap, frames that crowd in were held up."""

    def __init__(self) -> None:
        self._arrived_s: float | None = None
        self._usual_s = 0.0
        self._delay_s = 0.0
        self._was_long = False

    def captured_s(self, arrived_s: float, stamp_s: float) -> float:
        """Arrival less what is known of the delay; the stamp, which FFmpeg makes up, is ignored.

        The first frame after a gap may be the one taken at its beginning: it counts as that.
        """
        if self._arrived_s is None:
            self._arrived_s = arrived_s
            return arrived_s
        gap_s = arrived_s - self._arrived_s
        self._arrived_s = arrived_s
        usual_s = self._usual_s or gap_s
        long, was_long = gap_s > 4 * usual_s, self._was_long
        self._was_long = long
        if long:
            self._delay_s = gap_s - usual_s
        elif self._delay_s and gap_s < usual_s / 2:
            self._delay_s = max(0.0, self._delay_s - (usual_s - gap_s))
            return arrived_s - self._delay_s
        else:
            self._delay_s = 0.0
        # One long gap says nothing of the rate; gap after gap, the camera has become slower.
        if was_long or not long:
            self._usual_s = usual_s + (min(gap_s, 4 * usual_s) - usual_s) / _INERTIA
        return arrived_s - self._delay_s
