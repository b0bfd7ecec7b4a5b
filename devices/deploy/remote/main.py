"""One step: read what to do from standard input, do it, answer in lines on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from devices.deploy.remote import locking
from devices.deploy.remote.place import Place, StepError, disk_errors

# Before each line of ours: what a login shell greets with is not taken for an answer.
MARK = "EDGEPROOF "


def main() -> None:
    """Read one line of parameters, run the step that it names, and answer."""
    try:
        params: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
        tell({"done": step(params)})
    except StepError as exc:
        tell({"error": str(exc)})


def step(params: dict[str, Any]) -> dict[str, Any]:
    """Do it, under the lock where it changes anything."""
    place, name = Place(params["root"]), params["step"]
    if name == "hold":
        locking.hold(place, params, tell)
        return {}
    if name in ("status", "releases", "logs"):
        from devices.deploy.remote import report

        reading = {"status": report.status, "releases": report.releases, "logs": report.logs}
        return reading[name](place, params)
    with locking.held(place, params["token"]) as lock:
        return changing(place, name, params, lock)


def changing(place: Place, name: str, params: dict[str, Any], lock: int) -> dict[str, Any]:
    """Modules are imported by the step that needs them."""
    if name in ("environment", "check"):
        from devices.deploy.remote import environment

        work = environment.build if name == "environment" else environment.check
        return work(place, params, lock, tell)
    if name in ("recover", "activate"):
        from devices.deploy.remote import activate

        return (activate.recover if name == "recover" else activate.activate)(place, params, tell)
    from devices.deploy.remote import store

    if name == "prepare":
        return store.prepare(place, params)
    if name == "receive":
        return store.receive(place, params, sys.stdin.buffer)
    if name == "seal":
        return store.seal(place, params)
    if name == "record":
        return store.release_record(place, params["release"])
    if name == "prune":
        with disk_errors(place.root):
            return {"gone": store.prune(place, params["keep"])}
    raise StepError(f"knows no step {name!r}")


def tell(answer: dict[str, Any]) -> None:
    """A line to the other side; it may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, f"{MARK}{json.dumps(answer)}\n".encode())
