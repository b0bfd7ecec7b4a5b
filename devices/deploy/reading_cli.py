"""`edgeproof status`, `releases` and `logs`: what a device says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devices.deploy.options import (
    HostArgument,
    HostsOption,
    JsonOption,
    NameOption,
    ParallelOption,
    SshConfigOption,
    WaitOption,
)

if TYPE_CHECKING:
    from devices.deploy.answers import Answer
    from devices.deploy.connection import Connection
    from devices.deploy.deploying import Site
    from devices.deploy.hosts import Host
    from devices.deploy.session import Session


def mount_reading(app: typer.Typer) -> None:
    """Add them to an app."""
    app.command("status", short_help="How a device is doing.")(status_command)
    app.command("releases", short_help="What a device holds, and room on it.")(releases_command)
    app.command("logs", short_help="What a device logged.")(logs_command)


def status_command(
    host: HostArgument = None,
    hosts: HostsOption = None,
    name: NameOption = "edgeproof",
    json_output: JsonOption = False,
    parallel: ParallelOption = 8,
    ssh_config: SshConfigOption = None,
) -> None:
    """Show the release, uptime, frames a second, frame age, temperature, throttling and answers.

    The exit code is 1 when a device does not answer, or does not run what it should.
    """
    from devices.deploy.deploying import Reporter, Site
    from devices.deploy.errors import DeployError
    from devices.deploy.fleet import Fleet
    from devices.deploy.status_table import is_well, print_status, print_statuses
    from devices.deploy.targets import targets_of

    site = Site(name)
    targets = targets_of(host, hosts)

    def work(target: Host, reporter: Reporter) -> Answer:
        return _ask(target, site, ssh_config, "status", alone=len(targets) == 1)

    fleet = Fleet(targets, work, is_well)
    if hosts is None:
        found = work(targets[0], Reporter())
        if json_output:
            typer.echo(json.dumps(found))
        else:
            print_status(targets[0].address.text, found)
        if not is_well(found):
            raise typer.Exit(1)
        return
    fleet.run(parallel=parallel, canary=False)
    if json_output:
        rows = {r.host.address.text: r.result or {"error": r.at} for r in fleet.rows}
        typer.echo(json.dumps(rows))
    else:
        print_statuses(fleet)
    if fleet.failed:
        raise DeployError(f"{fleet.failed} of {len(targets)} devices are not well; see above.")


def releases_command(
    host: HostArgument = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Remove all but the last N; what runs stays."),
    ] = None,
    name: NameOption = "edgeproof",
    wait: WaitOption = 0.0,
    json_output: JsonOption = False,
    ssh_config: SshConfigOption = None,
) -> None:
    """List the releases that a device holds, newest first; with --keep remove the oldest."""
    from devices.deploy.deploying import Site
    from devices.deploy.status_table import print_releases
    from devices.deploy.targets import connection_to, targets_of
    from devices.deploy.text import printable

    target = targets_of(host, None)[0]
    with connection_to(target, ssh_config, alone=True) as connection:
        session = _session(connection, Site(name))
        gone: list[Any] = []
        if keep is not None:
            with session.locked(wait_s=wait):
                gone = session.call("prune", {"keep": keep}).items_of("gone")
        found = session.call("releases").objects("releases")
    if json_output:
        typer.echo(json.dumps(found))
        return
    for each in gone:
        typer.echo(f"removed {printable(each)}")
    print_releases(target.address.text, found)


def logs_command(
    host: HostArgument = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last so many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And what comes.")] = False,
    name: NameOption = "edgeproof",
    ssh_config: SshConfigOption = None,
) -> None:
    """Print what the service logged, out of the device's journal."""
    from devices.deploy.deploying import Site
    from devices.deploy.show import printable_line
    from devices.deploy.targets import connection_to, targets_of

    target = targets_of(host, None)[0]
    with connection_to(target, ssh_config, alone=True) as connection:
        session = _session(connection, Site(name))
        asked = {"lines": lines, "follow": follow}
        session.follow("logs", asked, lambda text: typer.echo(printable_line(text)))


def _ask(target: Host, site: Site, ssh_config: Path | None, step: str, *, alone: bool) -> Answer:
    from devices.deploy.targets import connection_to

    with connection_to(target, ssh_config, alone=alone) as connection:
        return _session(connection, site).call(step)


def _session(connection: Connection, site: Site) -> Session:
    from devices.deploy.deploying import DeployOptions, Reporter, open_session
    from devices.deploy.targets import require_name

    require_name(site.name)
    return open_session(connection, None, DeployOptions(site=site), Reporter())[0]
