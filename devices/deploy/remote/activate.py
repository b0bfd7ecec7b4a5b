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
from devices.deploy.remote.place import (
    Place,
    StepError,
    disk_errors,
    note_history,
    read_json,
    write_text,
)
from devices.deploy.remote.service import Service, running_release, service_of, user_name
from devices.deploy.remote.store import release_record

Tell = Callable[[dict[str, Any]], None]

_LOOK_S = 0.25
# After a killed switch: long enough for a frame, short enough to wait for.
_SECOND_LOOK_S = 5.0


def activate(place: Place, params: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Switch to a release, start it, watch it; go back to the one before if it does not do well.

    Returns:
        `healthy`; if not, `reason` and `back_to` (None where there was no release before).

    Raises:
        StepError: when there is no such release.
    """
    name = params["release"]
    release_record(place, name)
    _outlive_the_connection()
    previous = place.current_release()
    service = service_of(params)
    with disk_errors(place.root):
        if service is None or service.why_not():
            place.point_at(name)
            note_history(place, release=name, outcome="switched")
            return {"healthy": None, "back_to": previous, "command": str(place.current / "start")}
        limits = _limits(place, params, previous, service)
        before = {"release": name, "previous": previous, "at": round(time.time())}
        write_text(place.pending, json.dumps(before))
        place.point_at(name)
        tell({"progress": f"starting {name}"})
        reason = _start_and_watch(place, service, limits, params["watch_s"], tell)
        if not reason:
            _settle(place, name, "healthy")
            return {"healthy": True, "lingers": service.lingers(), "user": user_name()}
        _go_back(place, service, name, previous, reason, tell)
    return {"healthy": False, "reason": reason, "back_to": previous}


def recover(place: Place, params: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Bring a switch to its end that was killed in the middle; nothing to do without one.

    Returns:
        `recovered`: what was found, in words; empty when all was well.
    """
    left = read_json(place.pending)
    service = service_of(params)
    if not left or service is None or service.why_not():
        with disk_errors(place.root):
            place.pending.unlink(missing_ok=True)
        return {"recovered": ""}
    _outlive_the_connection()
    name, previous = str(left.get("release")), left.get("previous")
    current = place.current_release()
    with disk_errors(place.root):
        if current is None:
            place.pending.unlink(missing_ok=True)
            return {"recovered": "a first switch had not been made"}
        tell({"progress": "a switch was cut off; looking how it stands"})
        limits = _limits(place, params, None, service)
        look_s = min(_SECOND_LOOK_S, params["watch_s"])
        pid = service.state()["pid"]
        if running_release(place, pid) != current:
            reason = _start_and_watch(place, service, limits, look_s, tell)
        else:
            reason = _watch(place, service, limits, look_s, tell)
        if current == name and reason:
            _go_back(place, service, name, previous, reason, tell)
            return {"recovered": f"{name} was switched to, cut off, and not healthy: {reason}"}
        _settle(place, current, "healthy" if not reason else "unhealthy", reason)
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
    place: Place, service: Service, name: str, previous: str | None, reason: str, tell: Tell
) -> None:
    tell({"progress": f"{reason}; going back to {previous or 'nothing, as before'}"})
    place.point_at(previous)
    if previous is None:
        service.stop()
    else:
        place.status.unlink(missing_ok=True)
        with contextlib.suppress(StepError):  # that it does not come up again is told by status
            service.restart()
    with contextlib.suppress(OSError):  # a full disk may be why; it is told all the same
        note_history(place, release=name, outcome="returned", reason=reason)
    place.pending.unlink(missing_ok=True)


def _settle(place: Place, name: str, outcome: str, reason: str = "") -> None:
    note_history(place, release=name, outcome=outcome, **({"reason": reason} if reason else {}))
    place.pending.unlink(missing_ok=True)


def _outlive_the_connection() -> None:
    with contextlib.suppress(OSError):
        os.setsid()
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
