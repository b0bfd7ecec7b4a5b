"""`edgeproof deploy` on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devices.deploy.options import (
    HostArgument,
    HostsOption,
    NameOption,
    NoCanary,
    ParallelOption,
    ServiceOption,
    SshConfigOption,
    WaitOption,
    WatchOption,
)
from devices.deploy.reading_cli import mount_reading

if TYPE_CHECKING:
    from devices.deploy.payload import Payload

PayloadOf = Callable[[Path], "AbstractContextManager[Payload]"]


def mount(app: typer.Typer, payload_of: PayloadOf) -> None:
    """Add `deploy`, `rollback`, `status`, `releases` and `logs` to an app.

    Args:
        payload_of: what is to be deployed of the bundle at a path: `devices` does not know what a
            bundle is.
    """
    _mount_deploy(app, payload_of)
    app.command("rollback", short_help="Send a device back to the good release before.")(
        rollback_command
    )
    mount_reading(app)


def _mount_deploy(app: typer.Typer, payload_of: PayloadOf) -> None:
    @app.command("deploy", short_help="Put a bundle to work on a device over SSH.")
    def deploy_command(
        bundle: Annotated[
            Path,
            typer.Argument(
                metavar="BUNDLE", help="Bundle folder, or the same as one .zip or .age."
            ),
        ],
        host: HostArgument = None,
        hosts: HostsOption = None,
        run: Annotated[
            str,
            typer.Option(
                "--run", metavar="ARGUMENTS", help="Of edgeproof run there, as one quoted text."
            ),
        ] = "--source 0",
        watch: WatchOption = 30.0,
        service: ServiceOption = "user",
        name: NameOption = "edgeproof",
        python: Annotated[
            str,
            typer.Option(
                metavar="PATH",
                help="A Python there that has edgeproof; nothing is installed.  [default: an "
                "environment of our own]",
                show_default=False,
            ),
        ] = "",
        offline: Annotated[
            bool, typer.Option("--offline", help="Carry every package along; it needs no network.")
        ] = False,
        system_packages: Annotated[
            bool,
            typer.Option(
                "--system-packages", help="The environment sees the system's, such as its OpenCV."
            ),
        ] = False,
        extras: Annotated[
            str, typer.Option(metavar="A,B", help="Of edgeproof, such as mqtt or onnx.")
        ] = "",
        memory: Annotated[
            str, typer.Option(metavar="SIZE", help="Most that it may take: 512M, 60%.")
        ] = "75%",
        max_age_ms: Annotated[
            float, typer.Option(min=1, help="A camera's frames may be so old at their answer.")
        ] = 5000.0,
        keep: Annotated[int, typer.Option(min=1, help="Releases that stay on a device.")] = 3,
        wait: WaitOption = 0.0,
        max_clock_off: Annotated[
            float, typer.Option(min=0, metavar="SECONDS", help="Its clock may be so far off.")
        ] = 300.0,
        parallel: ParallelOption = 8,
        no_canary: NoCanary = False,
        ssh_config: SshConfigOption = None,
    ) -> None:
        """Put a bundle to work on a device, and keep it working.

        It is copied over SSH beside what runs there, checked by hash, verified on the device's own
        processor, switched to at once, and watched. If it does not stay healthy, the device goes
        back to the release before by itself.
        """
        from devices.deploy.deploying import DeployOptions, Site
        from devices.deploy.fleet_cli import deploy_all
        from devices.deploy.targets import targets_of
        from devices.deploy.unit import UnitOptions

        options = DeployOptions(
            site=Site(name, service),
            unit=UnitOptions(memory=memory),
            python=python,
            offline=offline,
            system_packages=system_packages,
            watch_s=watch,
            age_ms=max_age_ms,
            keep=keep,
            wait_s=wait,
            max_clock_off_s=max_clock_off,
        )
        targets = targets_of(host, hosts)
        arguments = run_arguments(run)
        with payload_of(bundle) as payload:
            deploy_all(
                targets,
                payload,
                arguments,
                tuple(filter(None, extras.replace(" ", "").split(","))),
                options,
                ssh_config=ssh_config,
                parallel=parallel,
                canary=hosts is not None and not no_canary,
            )


def rollback_command(
    host: HostArgument = None,
    release: Annotated[
        str | None,
        typer.Argument(metavar="RELEASE", help="This one, older or newer.", show_default=False),
    ] = None,
    hosts: HostsOption = None,
    watch: WatchOption = 30.0,
    name: NameOption = "edgeproof",
    wait: WaitOption = 0.0,
    parallel: ParallelOption = 8,
    no_canary: NoCanary = False,
    ssh_config: SshConfigOption = None,
) -> None:
    """Send a device back to the good release that ran before, checked and watched like a new one.

    Each rollback goes further back; forward again, or anywhere, by naming the RELEASE (edgeproof
    releases HOST lists them). Its unit comes with it: --memory, --service and --run as they were.
    """
    from devices.deploy.deploying import DeployOptions, Site
    from devices.deploy.fleet_cli import rollback_all
    from devices.deploy.targets import targets_of

    if hosts is not None and release is None:
        host, release = None, host  # with a file of devices, what is named is the release
    options = DeployOptions(site=Site(name), watch_s=watch, wait_s=wait)
    rollback_all(
        targets_of(host, hosts),
        release,
        options,
        ssh_config=ssh_config,
        parallel=parallel,
        canary=hosts is not None and not no_canary,
    )


def run_arguments(text: str) -> tuple[str, ...]:
    """Arguments of `edgeproof run` out of one text.

    Raises:
        DeployError: when its quotes do not close.
    """
    from devices.deploy.errors import DeployError

    try:
        return tuple(shlex.split(text))
    except ValueError as exc:
        raise DeployError(f"--run {text!r}: {exc}.") from exc
