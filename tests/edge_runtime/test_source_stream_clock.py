"""Held-up frames are told by their time stamps, or by their crowding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sources.driver_clock import DriverClock
from edge_runtime.sources.stream_clock import ArrivalClock, StampClock

PERIOD = 1 / 30


def delays(clock, frames: list[tuple[float, float]]) -> list[float]:
    return [arrived - clock.captured_s(arrived, stamp) for arrived, stamp in frames]


def test_steady_frames_are_new():
    frames = [(100 + n * PERIOD, n * PERIOD) for n in range(3000)]
    assert max(delays(StampClock(), frames)) == pytest.approx(0, abs=1e-6)
    assert max(delays(ArrivalClock(), frames)) == 0


def test_frames_held_up_and_let_go_together():
    # Ten seconds of frames; those of the third second all arrive at its end.
    frames = [(max(n * PERIOD, 3.0 if n * PERIOD >= 2 else 0), n * PERIOD) for n in range(300)]
    found = delays(StampClock(), frames)
    assert found[60] == pytest.approx(1.0, abs=0.01)
    assert found[75] == pytest.approx(0.5, abs=0.01)
    assert max(found[91:]) == pytest.approx(0, abs=1e-6)
    # Without stamps, by a few milliseconds' pause between frames that were held up.
    crowded = [(arrived + n * 1e-4, 0.0) for n, (arrived, _) in enumerate(frames)]
    found = delays(ArrivalClock(), crowded)
    assert found[60] == pytest.approx(1.0, abs=0.05)
    assert found[75] == pytest.approx(0.5, abs=0.05)
    assert max(found[95:]) < 0.05


def test_a_camera_that_becomes_slower_is_not_late_for_long():
    arrivals = [n * 0.03 for n in range(100)] + [3 + n * 2.0 for n in range(30)]
    assert max(delays(ArrivalClock(), [(each, 0.0) for each in arrivals])[-15:]) == 0


@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_clocks_that_drift_apart_make_no_delay(drift: float):
    frames = [(n * 0.1, n * 0.1 * (1 + drift)) for n in range(36_000)]  # an hour
    assert max(delays(StampClock(), frames)) < 0.03


def test_stamps_that_begin_anew():
    frames = [(n * PERIOD, n * PERIOD) for n in range(300)]
    frames += [(10 + n * PERIOD, n * PERIOD) for n in range(300)]
    assert max(delays(StampClock(), frames)) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), max_size=50))
def test_no_frame_is_from_the_future(frames: list[tuple[float, float]]):
    frames = sorted(frames)
    assert all(delay >= 0 for delay in delays(StampClock(), frames))
    assert all(delay >= 0 for delay in delays(ArrivalClock(), frames))


def test_a_drivers_stamps_are_believed_if_they_are_on_our_clock():
    ours = DriverClock()
    assert ours.captured_s(99.97, 100.0) == 99.97
    assert ours.captured_s(100.0, 7300.0) == 100.0  # stopped for two hours
    assert ours.captured_s(7300.1, 7300.0) == 7300.0
    assert ours.captured_s(0.0, 7301.0) == 7301.0  # not stamped
    for first in (1.8e9, 0.0, 100.0):
        others = DriverClock()
        assert others.captured_s(first, 5000.0) == 5000.0
        assert others.captured_s(4999.0, 5001.0) == 5001.0
