"""Tables of many devices: while it goes on, and at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from devices.deploy.deploying import Outcome
from devices.deploy.fleet import Fleet, Row

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"waiting": "dim", "working": "cyan", "done": "green", "failed": "bold red"}
_REDRAW_S = 0.2


@contextmanager
def shown_while(fleet: Fleet[Outcome]) -> Iterator[None]:
    """A live table on a terminal; a line for each change of state elsewhere."""
    stop = threading.Event()
    show = _live if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(fleet, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def print_summary(fleet: Fleet[Outcome]) -> None:
    """Which device holds what."""
    from rich.console import Console

    Console().print(_table(fleet, ended=True))
    done = len(fleet.rows) - fleet.failed
    left_out = sum(row.state == "left out" for row in fleet.rows)
    print(  # noqa: T201
        f"{done} of {len(fleet.rows)} run it"
        + (f", {fleet.failed - left_out} failed" if fleet.failed > left_out else "")
        + (f", {left_out} left out" if left_out else "")
    )


def printable_line(text: str) -> str:
    """A line of a device's log without what would steer this terminal."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _live(fleet: Fleet[Outcome], stop: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while not stop.wait(_REDRAW_S):
            live.update(_table(fleet, ended=False), refresh=True)


def _lines(fleet: Fleet[Outcome], stop: threading.Event) -> None:
    said: dict[str, str] = {}
    while True:
        last = stop.wait(_REDRAW_S)
        for row in fleet.rows:
            where = row.host.address.text
            if row.state != said.get(where, "waiting"):
                said[where] = row.state
                print(f"{where}: {row.state}", file=sys.stderr, flush=True)  # noqa: T201
        if last:
            return


def _table(fleet: Fleet[Outcome], *, ended: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("device", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("runs" if ended else "at", overflow="fold")
    for row in fleet.rows:
        cells = (Text(row.host.address.text), Text(row.state, style=_STYLES.get(row.state, "")))
        table.add_row(*cells, Text(_end(row) if ended else row.at))  # a "[" is no markup
    return table


def _end(row: Row[Outcome]) -> str:
    outcome = row.result
    if outcome is None:
        return row.at
    if outcome.healthy is False:
        return f"{outcome.runs or 'nothing'}: {outcome.release} was not healthy: {outcome.reason}"
    how = ", healthy" if outcome.healthy else ", not started: no systemd"
    notes = "".join(f"; {note}" for note in outcome.notes)
    return f"{outcome.runs}{how}{notes}"
