"""What people see of a device's status and releases."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from devices.deploy.answers import Answer, finite
from devices.deploy.fleet import Fleet
from devices.deploy.text import printable

# A status is written once a second; older, and the loop is stuck or the camera is gone.
_OLD_S = 10.0


def is_well(found: Answer) -> bool:
    """Whether the device runs what it should, and its frames flow."""
    age_s = found.number("status_age_s")
    return (
        found.get("current") is not None
        and found.get("running") == found.get("current")
        and age_s is not None
        and age_s < _OLD_S
    )


def print_status(where: str, found: Answer) -> None:
    """One device, in full."""
    table = Table(title=Text(where), title_justify="left", show_header=False, box=box.SIMPLE)
    for label, value in _rows(found):
        table.add_row(label, Text(value))
    Console().print(table)


def print_statuses(fleet: Fleet[Answer]) -> None:
    """One of many a row; three columns, so that 80 characters are enough."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("device", no_wrap=True)
    table.add_column("runs", overflow="fold")
    table.add_column("how it does", overflow="fold")
    for row in fleet.rows:
        found = row.result
        where = Text(row.host.address.text)
        if found is None:
            table.add_row(where, "", Text(printable(row.at), style="bold red"))
            continue
        how = Text(_trouble(found), style="bold red")
        if running := found.text("running"):
            how.append(f"{chr(10) if how else ''}{_in_short(found)}", style="not bold default")
        table.add_row(where, Text(running or "nothing"), how)
    Console().print(table)


def print_releases(where: str, found: list[Answer]) -> None:
    """Every release of one device."""
    if not found:
        Console().print(Text(f"{where}: holds no release; edgeproof deploy puts one there"))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("release", no_wrap=True)  # the name is what the user types
    for heading in ("", "made", "size", "edgeproof", "how it went"):
        table.add_column(heading, overflow="fold")
    for each in found:
        mark = "runs" if each["current"] else "before" if each["previous"] else ""
        how = ": ".join(filter(None, (each.text("outcome"), each.text("reason"))))
        size = each.number("bytes")
        cells = (
            each.text("release"),
            mark,
            _when(each.number("made")),
            "unknown" if size is None else f"{size / 1e6:.1f} MB",
            each.text("edgeproof"),
            how,
        )
        style = "bold" if each["current"] else None
        table.add_row(*map(Text, cells), style=style)
    Console().print(table)


def _in_short(found: Answer) -> str:
    told = found.inner("status")
    figures = [f"up {_long(found.number('uptime_s'))}"]
    for name, unit in (("fps", " fps"), ("age_ms", " ms old"), ("temperature_c", " °C")):
        if finite(told.get(name)) is not None:
            figures.append(_figure(told.get(name), unit))
    return f"{', '.join(figures)}; {_answers(told, last=1)}"


def _rows(found: Answer) -> Iterable[tuple[str, str]]:
    told, state = found.inner("status"), found.inner("service")
    yield "Release", found.text("current") or "none; edgeproof deploy puts one there"
    if trouble := _trouble(found):
        yield "Trouble", trouble
    if found["previous"]:
        yield "Before", found.text("previous")
    if found["no_service"]:
        yield "Service", found.text("no_service")
    elif state:
        restarts = state.number("restarts") or 0
        yield "Service", f"{state.text('active')}, restarted {restarts:.0f} times"
    yield "Uptime", _long(found.number("uptime_s"))
    if told:
        yield "Runs", f"{told.text('variant') or '?'} on {told.text('engine') or '?'}"
        yield "Frames", f"{_figure(told.get('frames'))}, {_figure(told.get('fps'))} fps"
        yield "Frame age", _figure(told.get("age_ms"), " ms")
        yield "Temperature", _figure(told.get("temperature_c"), " °C")
        throttling = printable(", ".join(map(str, told.items_of("throttling"))))
        yield "Throttling", throttling or "none that it tells"
        yield "Last answers", _answers(told, last=5)
    if (free := found.number("free_bytes")) is not None:
        yield "Free disk", f"{free / 1e9:.1f} GB"


def _trouble(found: Answer) -> str:
    current, running = found.text("current"), found.text("running")
    age_s = found.number("status_age_s")
    if not current:
        return "holds no release"
    said = ["its disk is full"] if found.get("full") is True else []
    if not running:
        said.append("does not run")
    elif running != current:
        said.append(f"runs {running} still")
    if found["pending"]:
        said.append("a switch was cut off or is under way")
    if running and age_s is None:
        said.append("tells nothing of itself")
    elif running and age_s is not None and age_s > _OLD_S:
        said.append(f"its last frame was {_long(age_s)} ago")
    last = found.inner("last")
    if last.get("outcome") == "returned":
        said.append(f"{last.text('release')} was not healthy ({last.text('reason')})")
    return printable("; ".join(said))


def _answers(told: Answer, *, last: int) -> str:
    shown = []
    for answer in told.objects("answers")[-last:]:
        score = answer.number("score")
        percent = "" if score is None else f" {score:.0%}"
        shown.append(f"{answer.text('label')}{percent}")
    return printable(", ".join(reversed(shown)) or "none")


def _figure(value: object, unit: str = "") -> str:
    number = finite(value)
    if number is None:
        return "unknown"
    return f"{number:.0f}{unit}" if abs(number) >= 10 else f"{number:.3g}{unit}"


def _long(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h" if days < 2 else f"{days:.0f} d"


def _when(made: float | None) -> str:
    with contextlib.suppress(ValueError, OverflowError, OSError):  # of no year there is
        if made is not None:
            local = datetime.datetime.fromtimestamp(made).astimezone()
            return local.strftime("%Y-%m-%d %H:%M")
    return "unknown"
