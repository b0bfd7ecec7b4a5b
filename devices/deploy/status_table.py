"""What people see of a device's status and releases."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from devices.deploy.fleet import Fleet
from devices.deploy.text import printable

# A status is written once a second; older, and the loop is stuck or the camera is gone.
_OLD_S = 10.0


def is_well(found: dict[str, Any]) -> bool:
    """Whether the device runs what it should, and its frames flow."""
    age_s = found.get("status_age_s")
    return (
        found.get("current") is not None
        and found.get("running") == found.get("current")
        and isinstance(age_s, (int, float))
        and age_s < _OLD_S
    )


def print_status(where: str, found: dict[str, Any]) -> None:
    """One device, in full."""
    table = Table(title=Text(where), title_justify="left", show_header=False, box=box.SIMPLE)
    for label, value in _rows(found):
        table.add_row(label, Text(value))
    Console().print(table)


def print_statuses(fleet: Fleet[dict[str, Any]]) -> None:
    """A line for each of many."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("device", no_wrap=True)
    for heading in ("runs", "up", "fps", "age", "°C", "last answer", "trouble"):
        table.add_column(heading, overflow="fold")
    for row in fleet.rows:
        found = row.result
        if found is None:
            table.add_row(Text(row.host.address.text), *[""] * 6, Text(row.at, style="bold red"))
            continue
        told = found["status"]
        cells = [
            found["running"] or "nothing",
            _long(found["uptime_s"]),
            _figure(told.get("fps")),
            _figure(told.get("age_ms"), " ms"),
            _figure(told.get("temperature_c")),
            _answers(told, last=1),
        ]
        trouble = Text(_trouble(found), style="bold red")
        table.add_row(Text(row.host.address.text), *map(Text, map(printable, cells)), trouble)
    Console().print(table)


def print_releases(where: str, found: list[dict[str, Any]]) -> None:
    """Every release of one device."""
    if not found:
        Console().print(Text(f"{where}: holds no release; edgeproof deploy puts one there"))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("release", no_wrap=True)  # the name is what the user types
    for heading in ("", "made", "size", "edgeproof", "how it went"):
        table.add_column(heading, overflow="fold")
    for each in found:
        mark = "runs" if each["current"] else "last good" if each["previous"] else ""
        how = ": ".join(filter(None, (each["outcome"], each["reason"])))
        size = f"{each['bytes'] / 1e6:.1f} MB"
        cells = (each["release"], mark, _when(each["made"]), size, each["edgeproof"] or "", how)
        style = "bold" if each["current"] else None
        table.add_row(*map(Text, map(printable, cells)), style=style)
    Console().print(table)


def _rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    told = found["status"]
    yield "Release", printable(found["current"] or "none; edgeproof deploy puts one there")
    if trouble := _trouble(found):
        yield "Trouble", trouble
    if found["previous"]:
        yield "Before", printable(found["previous"])
    state = found["service"]
    if found["no_service"]:
        yield "Service", printable(found["no_service"])
    elif state:
        yield "Service", printable(f"{state['active']}, restarted {state['restarts'] or 0} times")
    yield "Uptime", _long(found["uptime_s"])
    if told:
        yield "Runs", printable(f"{told.get('variant', '?')} on {told.get('engine', '?')}")
        yield "Frames", f"{_figure(told.get('frames'))}, {_figure(told.get('fps'))} fps"
        yield "Frame age", _figure(told.get("age_ms"), " ms")
        yield "Temperature", _figure(told.get("temperature_c"), " °C")
        throttling = told.get("throttling")
        yield "Throttling", printable(", ".join(map(str, throttling or [])) or "none that it tells")
        yield "Last answers", _answers(told, last=5)
    if found["free_bytes"] is not None:
        yield "Free disk", f"{found['free_bytes'] / 1e9:.1f} GB"


def _trouble(found: dict[str, Any]) -> str:
    current, running, age_s = found["current"], found["running"], found["status_age_s"]
    if current is None:
        return "holds no release"
    said = []
    if running is None:
        said.append("does not run")
    elif running != current:
        said.append(f"runs {running} still")
    if found["pending"]:
        said.append("a switch was cut off or is under way")
    if running and age_s is None:
        said.append("tells nothing of itself")
    elif running and age_s > _OLD_S:
        said.append(f"its last frame was {_long(age_s)} ago")
    last = found["last"]
    if last.get("outcome") == "returned":
        said.append(f"{last.get('release')} was not healthy ({last.get('reason')})")
    return printable("; ".join(said))


def _answers(told: dict[str, Any], *, last: int) -> str:
    answers = told.get("answers")
    shown = []
    for answer in (answers if isinstance(answers, list) else [])[-last:]:
        if isinstance(answer, dict):
            score = answer.get("score")
            percent = f" {score:.0%}" if isinstance(score, (int, float)) else ""
            shown.append(f"{answer.get('label')}{percent}")
    return printable(", ".join(reversed(shown)) or "none")


def _figure(value: object, unit: str = "") -> str:
    if not isinstance(value, (int, float)):
        return "unknown"
    return f"{value:.0f}{unit}" if abs(value) >= 10 else f"{value:.3g}{unit}"


def _long(seconds: object) -> str:
    if not isinstance(seconds, (int, float)):
        return "unknown"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h" if days < 2 else f"{days:.0f} d"


def _when(made: object) -> str:
    if not isinstance(made, int):
        return "unknown"
    local = datetime.datetime.fromtimestamp(made).astimezone()
    return local.strftime("%Y-%m-%d %H:%M")
