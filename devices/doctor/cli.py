"""`edgeproof doctor` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from devices.doctor.finding import Finding, Needs

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}


def mount(app: typer.Typer, needs_of: Callable[[Path], Needs]) -> None:
    """Add the command `doctor` to an app.

    Args:
        needs_of: what the bundle at a path needs: `devices` does not know what a bundle is.
    """

    @app.command("doctor", short_help="What is wrong with this device, and what mends it.")
    def doctor_command(
        bundle: Annotated[
            Path | None,
            typer.Argument(metavar="BUNDLE", help="Also hold free disk and memory against it."),
        ] = None,
        json_output: Annotated[
            bool, typer.Option("--json", help="Print JSON, for programs, instead of a table.")
        ] = False,
        python: Annotated[
            str, typer.Option(help="Look into the environment of this Python.", show_default=False)
        ] = sys.executable,
        root: Annotated[
            Path, typer.Option(help="Read the facts under this folder.", hidden=True)
        ] = Path("/"),
    ) -> None:
        """Look for what bites people on a device, and give the line that mends each.

        The exit code is 1 when something will not work (a problem); warnings leave it at 0.
        """
        from devices.doctor.diagnosis import diagnose

        needs = needs_of(bundle) if bundle is not None else None
        findings = diagnose(root, python=python, needs=needs)
        problems = sum(each.status == "problem" for each in findings)
        if json_output:
            _print_json(findings)
        else:
            _print_table(findings)
            warnings = sum(each.status == "warning" for each in findings)
            typer.echo(f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}")
        if problems:
            raise typer.Exit(1)


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _print_json(findings: tuple[Finding, ...]) -> None:
    import json

    passed = not any(each.status == "problem" for each in findings)
    report = {"passed": passed, "findings": [each.as_dict() for each in findings]}
    typer.echo(json.dumps(report, indent=2))


def _print_table(findings: tuple[Finding, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found, and what mends it", overflow="fold")
    for each in findings:
        text = Text(each.found)  # Text: a "[" in a name is no markup
        if each.remedy:
            text.append(f"\n→ {each.remedy}", style="bold" if each.status != "ok" else "dim")
        table.add_row(each.check, Text(each.status, style=_STYLES[each.status]), text)
    Console().print(table)
