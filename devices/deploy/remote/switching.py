"""What runs, and within which limits: a release's unit under systemd, and `current` beside it.

The unit names the release's own `start`: it is one file, so that no interruption pairs a release
with the limits of another. `current` follows it at once; where the two differ, `pending.json` is
there and says what was going on.
"""

from __future__ import annotations

import contextlib
from typing import Any

from devices.deploy.remote.history import read_history
from devices.deploy.remote.place import Place, StepError, read_json, write_text
from devices.deploy.remote.service import (
    Service,
    other_services,
    read_text,
    running_release,
    service_of,
)


def service_for(place: Place, params: dict[str, Any], release: str | None) -> Service | None:
    """The service that a release was deployed for; None for none."""
    return service_of(_params_for(place, params, release))


def service_here(place: Place, params: dict[str, Any]) -> Service | None:
    """The service of what runs here, or of what was last to run."""
    history = read_history(place)
    last = str(history[-1].get("release")) if history else None
    return service_for(place, params, place.current_release() or last)


def lead_to(place: Place, params: dict[str, Any], release: str) -> None:
    """Let systemd and `current` lead to a release; services of another kind stop.

    Raises:
        StepError: when that is not granted; `current` is as it was.
    """
    unit = place.release(release) / "unit"
    service = service_for(place, params, release)
    if service is not None and not service.why_not():
        if not read_text(unit):
            raise StepError(f"{release}: an earlier edgeproof put it here; deploy it again")
        service.install(unit)
    try:
        _retire_others(place, params, release)
    except StepError:
        if service is not None and release != place.current_release():
            with contextlib.suppress(StepError):
                service.retire()
        raise
    place.point_at(release)


def lead_back(place: Place, params: dict[str, Any], release: str, previous: str | None) -> None:
    """Let all lead to the release before, as far as that can be done; it runs again.

    Args:
        release: the one that was to run.
        previous: the one before it; None where there was none.
    """
    if previous is None:
        place.point_at(None)
        service = service_for(place, params, release)
        if service is not None:
            with contextlib.suppress(StepError):
                service.retire()
        return
    # That it does not come up again is told by status.
    with contextlib.suppress(StepError):
        lead_to(place, params, previous)
    place.point_at(previous)
    service = service_for(place, params, previous)
    if service is not None:
        with contextlib.suppress(StepError):
            if running_release(place, service.state()["pid"]) != previous or previous == release:
                place.status.unlink(missing_ok=True)
                service.restart()


def adopt_unit(place: Place, params: dict[str, Any], release: str | None) -> None:
    """Keep the unit of a release that an earlier edgeproof put here: it had but one for all."""
    service = service_for(place, params, release)
    if release is None or service is None or (place.release(release) / "unit").is_file():
        return
    if text := read_text(service.file):
        write_text(place.release(release) / "unit", text)


def _retire_others(place: Place, params: dict[str, Any], release: str) -> None:
    for other in other_services(_params_for(place, params, release)):
        try:
            other.retire()
        except StepError as exc:
            whose = "system" if other.system else "user"
            raise StepError(
                f"an earlier deploy is the {whose}'s {other.unit}, which cannot be stopped: {exc}"
            ) from exc


def _params_for(place: Place, params: dict[str, Any], release: str | None) -> dict[str, Any]:
    record = read_json(place.release(release) / "release.json") if release else {}
    kind = record.get("service")
    return {**params, "service": kind if kind in ("user", "system", "none") else params["service"]}
