"""Deploying and going back, on one device or many, with what people see of it."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from devices.deploy.deploying import DeployOptions, Outcome, Reporter, deploy, rollback
from devices.deploy.errors import DeployError
from devices.deploy.fleet import Fleet
from devices.deploy.hosts import Host
from devices.deploy.packages import Packages
from devices.deploy.payload import Payload
from devices.deploy.show import print_summary, shown_while
from devices.deploy.targets import connection_to, require_name
from devices.deploy.text import printable


def deploy_all(
    hosts: Sequence[Host],
    payload: Payload,
    arguments: tuple[str, ...],
    extras: tuple[str, ...],
    options: DeployOptions,
    *,
    ssh_config: Path | None,
    parallel: int,
    canary: bool,
) -> None:
    """Deploy to each, print how it went.

    Raises:
        DeployError: when it went wrong anywhere.
    """
    require_name(options.site.name)
    with tempfile.TemporaryDirectory(prefix="edgeproof-wheels-") as folder:
        packages = Packages(Path(folder))

        def work(host: Host, reporter: Reporter) -> Outcome:
            given = arguments if host.arguments is None else host.arguments
            what = payload.with_arguments(given, extras)
            with connection_to(host, ssh_config, alone=len(hosts) == 1) as connection:
                return deploy(connection, what, packages, options, reporter)

        _on_all(hosts, work, parallel=parallel, canary=canary)


def rollback_all(
    hosts: Sequence[Host],
    release: str | None,
    options: DeployOptions,
    *,
    ssh_config: Path | None,
    parallel: int,
    canary: bool,
) -> None:
    """Go back on each, print how it went.

    Raises:
        DeployError: when it went wrong anywhere.
    """
    require_name(options.site.name)

    def work(host: Host, reporter: Reporter) -> Outcome:
        with connection_to(host, ssh_config, alone=len(hosts) == 1) as connection:
            return rollback(connection, release, options, reporter)

    _on_all(hosts, work, parallel=parallel, canary=canary)


def _on_all(
    hosts: Sequence[Host],
    work: Callable[[Host, Reporter], Outcome],
    *,
    parallel: int,
    canary: bool,
) -> None:
    if len(hosts) == 1:
        _on_one(hosts[0], work)
        return
    fleet = Fleet(hosts, work, lambda outcome: outcome.healthy is not False)
    with shown_while(fleet):
        fleet.run(parallel=parallel, canary=canary)
    print_summary(fleet)
    if fleet.failed:
        raise DeployError(f"{fleet.failed} of {len(hosts)} devices do not run it; see above.")


def _on_one(host: Host, work: Callable[[Host, Reporter], Outcome]) -> None:
    where = host.address.text
    with _status_line(where) as report:
        outcome = work(host, Reporter(on_progress=report))
    for note in outcome.notes:
        typer.echo(f"note: {note}", err=True)
    if outcome.healthy is False:
        back = f"it runs {outcome.runs} again" if outcome.runs else "nothing runs there, as before"
        raise DeployError(f"{where}: {outcome.release} was not healthy: {outcome.reason}; {back}.")
    sent = f", {outcome.sent_bytes / 1e6:.1f} MB copied" if outcome.sent_bytes else ""
    if outcome.healthy:
        typer.echo(f"{where}: runs {outcome.release}, healthy{sent}")
    else:
        typer.echo(f"{where}: holds {outcome.release}, verified{sent}; start it there with")
        typer.echo(f"  {outcome.command}")


@contextmanager
def _status_line(where: str) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        said = threading.local()

        def line(text: str) -> None:
            if text and text != getattr(said, "last", None):
                said.last = text
                typer.echo(f"{where}: {printable(text, 160)}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.markup import escape

    status = Console(stderr=True).status(where)

    def spin(text: str) -> None:
        status.update(f"{escape(where)}: {escape(printable(text, 160))}")
        status.start()  # not before: while it spins, nobody sees what ssh asks

    try:
        yield spin
    finally:
        status.stop()
