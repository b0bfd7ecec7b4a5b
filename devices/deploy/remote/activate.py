"""The switch: another release, watched, and back again by itself when it does not stay healthy.

All of it is one step, that runs on the device and does not need the connection: whoever ordered it
may be cut off, the device still finds its way back. If even this step is killed, `pending.json`
says so to whatever comes next.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from devices.deploy.remote.health import Limits, Watch
from devices.deploy.remote.history import note_history
from devices.deploy.remote.memory import memory_is_limited
from devices.deploy.remote.place import (
    Place,
    StepError,
    disk_errors,
    is_full,
    read_json,
    write_text,
)
from devices.deploy.remote.service import Service, running_release, user_name
from devices.deploy.remote.store import release_record
from devices.deploy.remote.switching import adopt_unit, lead_back, lead_to, service_for

Tell = Callable[[dict[str, Any]], None]

_LOOK_S = 0.25
# After a killed switch: long enough for a frame, short enough to wait for.
_SECOND_LOOK_S = 5.0


def activate(place: Place, params: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Switch to a release, start it, watch it; go back to the one before if it does not do well.

    Returns:
        `healthy`; if not, `reason` and `back_to` (None where there was no release before).
        `no_service`: why systemd does not run it; empty when it does. `limited`: whether its limit
        of memory is kept.

    Raises:
        StepError: when there is no such release, or systemd may not be told of it.
    """
    name = params["release"]
    release_record(place, name)
    _outlive_the_connection()
    previous = place.current_release()
    service = service_for(place, params, name)
    why_not = service.why_not() if service else "no service was asked for"
    with disk_errors(place.root):
        if service is None or why_not:
            lead_to(place, params, name)
            note_history(place, release=name, outcome="switched", **_way(params))
            command = str(place.current / "start")
            return {"healthy": None, "no_service": why_not, "command": command}
        adopt_unit(place, params, previous)
        limits = _limits(place, params, previous, service)
        before = {"release": name, "previous": previous, "at": round(time.time()), **_way(params)}
        write_text(place.pending, json.dumps(before))
        try:
            lead_to(place, params, name)
        except (StepError, OSError):
            lead_back(place, params, name, previous)
            place.pending.unlink(missing_ok=True)
            raise
        tell({"progress": f"starting {name}"})
        reason = _start_and_watch(place, service, limits, params["watch_s"], tell)
        if not reason:
            _settle(place, name, "healthy", **_way(params))
            done: dict[str, Any] = {"healthy": True, "no_service": ""}
            limited = memory_is_limited(service.state()["pid"])
            done |= {"lingers": service.lingers(), "limited": limited}
            return {**done, "user": user_name()}
        _go_back(place, params, name, previous, reason, tell)
    return {"healthy": False, "no_service": "", "reason": reason, "back_to": previous}


def recover(place: Place, params: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Bring a switch to its end that was killed in the middle; nothing to do without one.

    Returns:
        `recovered`: what was found, in words; empty when all was well.
    """
    left = read_json(place.pending)
    name, previous = str(left.get("release")), left.get("previous")
    current = place.current_release()
    service = service_for(place, params, current or name) if left else None
    if service is None or service.why_not():
        with disk_errors(place.root):
            if left and current is not None:
                lead_to(place, params, current)
            place.pending.unlink(missing_ok=True)
        return {"recovered": ""}
    _outlive_the_connection()
    with disk_errors(place.root):
        if current is None:
            lead_back(place, params, name, None)
            place.pending.unlink(missing_ok=True)
            return {"recovered": "a first switch had not been made"}
        tell({"progress": "a switch was cut off; looking how it stands"})
        lead_to(place, params, current)
        limits = _limits(place, params, None, service)
        look_s = min(_SECOND_LOOK_S, params["watch_s"])
        if running_release(place, service.state()["pid"]) != current:
            reason = _start_and_watch(place, service, limits, look_s, tell)
        else:
            reason = _watch(place, service, limits, look_s, tell)
        if current == name and reason:
            _go_back(place, params, name, previous, reason, tell)
            return {"recovered": f"{name} was switched to, cut off, and not healthy: {reason}"}
        outcome = {"outcome": "unhealthy", "reason": reason} if reason else {"outcome": "healthy"}
        _settle(place, current, **outcome, **(_way(left) if current == name else {}))
    return {"recovered": f"a switch to {name} had been cut off; {current} runs"}


def _limits(place: Place, params: dict[str, Any], previous: str | None, service: Service) -> Limits:
    status = read_json(place.status)
    runs = previous is not None and running_release(place, service.state()["pid"]) == previous
    was_blind = runs and bool(status.get("frames")) and not status.get("answered")
    return Limits(
        start_s=params["start_s"],
        still_s=params["still_s"],
        age_ms=params["age_ms"],
        answered=not was_blind,
    )


def _start_and_watch(
    place: Place, service: Service, limits: Limits, watch_s: float, tell: Tell
) -> str:
    """Why the release that `current` leads to is not healthy; empty when it is."""
    place.status.unlink(missing_ok=True)
    try:
        service.restart()
    except StepError as exc:
        return str(exc)
    return _watch(place, service, limits, watch_s, tell)


def _watch(place: Place, service: Service, limits: Limits, watch_s: float, tell: Tell) -> str:
    reason = _watched(place, service, limits, watch_s, tell)
    # What it does not tell, it may not have been able to write.
    return f"the disk is full, and {reason}" if reason and is_full(place) else reason


def _watched(place: Place, service: Service, limits: Limits, watch_s: float, tell: Tell) -> str:
    first = service.state()
    watch = Watch(limits, first["pid"])
    flowed_s: float | None = None
    while True:
        state, status = service.state(), read_json(place.status)
        if state["restarts"] != first["restarts"]:
            return "it ended and was started again"
        if trouble := watch.trouble(state, status):
            return trouble
        if flowed_s is None and watch.flows():
            flowed_s = time.monotonic()
            tell({"progress": f"frames flow; watching it for {watch_s:.0f} s"})
        if flowed_s is not None and time.monotonic() - flowed_s >= watch_s:
            return watch.unanswered(status)
        time.sleep(_LOOK_S)


def _go_back(
    place: Place, params: dict[str, Any], name: str, previous: str | None, reason: str, tell: Tell
) -> None:
    tell({"progress": f"{reason}; going back to {previous or 'nothing, as before'}"})
    lead_back(place, params, name, previous)
    with contextlib.suppress(OSError):  # a full disk may be why; it is told all the same
        note_history(place, release=name, outcome="returned", reason=reason)
    place.pending.unlink(missing_ok=True)


def _settle(place: Place, name: str, outcome: str, **more: Any) -> None:
    note_history(place, release=name, outcome=outcome, **more)
    place.pending.unlink(missing_ok=True)


def _way(params: dict[str, Any]) -> dict[str, Any]:
    """Going back is written down as such: it is no deploy to go back to."""
    return {"back": True} if params.get("back") else {}


def _outlive_the_connection() -> None:
    with contextlib.suppress(OSError):
        os.setsid()
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
