"""What the device says of itself: which release, how it does, what it logged."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any

from devices.deploy.remote.history import previous_good, read_history
from devices.deploy.remote.place import Place, StepError, is_full, read_json
from devices.deploy.remote.service import Service, running_release
from devices.deploy.remote.store import list_releases
from devices.deploy.remote.switching import service_here


def status(place: Place, params: dict[str, Any]) -> dict[str, Any]:
    """One look; nothing is changed."""
    service = service_here(place, params)
    why_not = service.why_not() if service else "no service was asked for"
    state = service.state() if service and not why_not else {}
    told = read_json(place.status)
    pid = state.get("pid") or (told.get("pid") if _is_alive(told.get("pid")) else None)
    history = read_history(place)
    return {
        "host": os.uname().nodename,
        "current": place.current_release(),
        "previous": previous_good(place),
        "running": running_release(place, pid),
        "pending": bool(read_json(place.pending)),
        "service": state,
        "no_service": why_not,
        "uptime_s": _uptime_s(pid),
        "status": told if told.get("pid") == pid else {},
        "status_age_s": _since(told.get("at")) if told.get("pid") == pid else None,
        "last": history[-1] if history else {},
        "full": is_full(place),
        "free_bytes": shutil.disk_usage(place.root).free if place.root.is_dir() else None,
    }


def releases(place: Place, params: dict[str, Any]) -> dict[str, Any]:
    """Every release, newest first."""
    return {"releases": list_releases(place)}


def logs(place: Place, params: dict[str, Any]) -> dict[str, Any]:
    """Hand the connection over to journalctl.

    Raises:
        StepError: when there is no journal.
    """
    service = service_here(place, params)
    if service is None or not shutil.which("journalctl"):
        raise StepError("there is no systemd journal; its output goes where you started it")
    command = ["journalctl", *_whose(service), "--no-pager", f"--lines={params['lines']}"]
    command += ["--follow"] if params["follow"] else []
    done = subprocess.run(command, check=False)
    if done.returncode > 0:
        raise StepError(f"journalctl ended with exit code {done.returncode}")
    return {}


def _whose(service: Service) -> list[str]:
    if service.system:
        return ["--unit", service.unit]
    # Not --user: a journal in memory only keeps none of a user's own, but has it all the same.
    return ["--user-unit", service.unit]


def _is_alive(pid: object) -> bool:
    return isinstance(pid, int) and pid > 0 and os.path.exists(f"/proc/{pid}")  # noqa: PTH110


def _uptime_s(pid: int | None) -> float | None:
    """Seconds since a process was started, by the kernel's clock: no time step disturbs it."""
    try:
        with open(f"/proc/{pid or 0}/stat", encoding="utf-8") as file:  # noqa: PTH123
            started = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime", encoding="utf-8") as file:  # noqa: PTH123
            up_s = float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, up_s - started / os.sysconf("SC_CLK_TCK"))


def _since(at: object) -> float | None:
    return round(time.time() - at, 1) if isinstance(at, (int, float)) else None
