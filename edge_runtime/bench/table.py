"""The record on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_runtime.bench.choose import worth
from edge_runtime.bench.record import Measured, Sustained, Window
from edge_runtime.bench.sustained import first_and_last, joined
from edge_runtime.text import printable

_COLUMNS = ("thr", "load", "first", "p50", "p90", "p99", "/s", "MiB", "loop/s", "acc %")


def print_measured(measured: Sequence[Measured], picked: int | None = None) -> None:
    """One table for each engine; what did not run has its reason below."""
    console = Console()
    for runner in dict.fromkeys(m.case.runner for m in measured):
        mine = [(n, m) for n, m in enumerate(measured) if m.case.runner == runner and m.ran]
        if mine:
            console.print(_table(_title(mine[0][1]), mine, picked))
    for each in measured:
        if not each.ran:
            line = f"did not run: {each.case}: {each.reason}"
            console.print(escape(printable(line)), style="yellow")


def print_legend(frames: str) -> None:
    """What the columns are."""
    Console().print(
        "[dim]Milliseconds: load (in a fresh process), first inference, then single ones of the "
        "model alone. /s: those a second. MiB: most memory, loop included. loop/s: frames a "
        f"second of the whole loop on {escape(printable(frames))}. acc %: as proven when the "
        "bundle was made; ! where the answers here are not as recorded.[/]"
    )


def print_window(window: Window) -> None:
    """One line of a sustained run."""
    Console().print(escape(f"{window.start_s / 60:6.1f} min  {_window_words(window)}"))


def print_sustained(sustained: Sustained) -> None:
    """First minute against last."""
    console = Console()
    first, last = (joined(part) for part in first_and_last(sustained.windows))
    console.print(f"sustained: {escape(str(sustained.case))} ({escape(sustained.version)})")
    console.print(escape(f"first {first.seconds:3.0f} s  {_window_words(first)}"))
    console.print(escape(f"last  {last.seconds:3.0f} s  {_window_words(last)}"))
    slower = 100 * (last.answer.p50 / first.answer.p50 - 1)
    console.print(
        f"the median is {abs(slower):.0f} % {'slower' if slower > 0 else 'faster'} at last"
    )


def _window_words(window: Window) -> str:
    parts = [
        f"p50 {window.answer.p50:.2f}  p99 {window.answer.p99:.2f} ms",
        f"{window.fps:.0f}/s",
    ]
    # What a machine does not tell is said once, not left out as if all were well.
    parts.append("-- °C" if window.hottest_c is None else f"{window.hottest_c:.0f} °C")
    parts.append("-- MHz" if window.clock_mhz is None else f"{window.clock_mhz:.0f} MHz")
    return "  ".join([*parts, *window.throttling])


def _title(first: Measured) -> str:
    where = f" ({first.accelerator} {100 * (first.share or 0):.0f} %)" if first.accelerator else ""
    version = first.version if first.case.wants_accelerator else first.version.split(" ")[0]
    return f"{first.case.runner} {version}{where if first.case.wants_accelerator else ''}"


def _table(title: str, rows: list[tuple[int, Measured]], picked: int | None) -> Table:
    table = Table(
        title=escape(printable(title)), title_justify="left", box=None, padding=(0, 1, 0, 0)
    )
    table.add_column("variant", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for number, each in rows:
        assert each.infer is not None and each.answer is not None
        cells = [
            str(each.case.threads),
            _short(each.load_ms),
            _short(each.first_ms),
            *(_short(value) for value in (each.infer.p50, each.infer.p90, each.infer.p99)),
            _short(each.infer.per_second),
            "--" if each.loop_peak_bytes is None else str(each.loop_peak_bytes >> 20),
            _short(each.loop_fps),
            f"{_worth(each)}{'' if each.as_recorded else ' !'}",
        ]
        style = "bold green" if number == picked else None
        table.add_row(printable(each.case.variant), *cells, style=style)
    return table


def _worth(each: Measured) -> str:
    """Raw tensors, which no loop takes, have no accuracy."""
    return "--" if each.loop_fps is None else f"{100 * worth(each):.1f}"


def _short(value: float | None) -> str:
    """Three figures, in at most five characters."""
    if value is None:
        return "--"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
