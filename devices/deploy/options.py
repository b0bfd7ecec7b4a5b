"""What the commands that go to a device take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

HostArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[USER@]HOST",
        help="As ssh takes it, or a name of your SSH config.",
        show_default=False,
    ),
]
HostsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Many devices instead of one: a line each, with arguments of run that differ there.",
    ),
]
NameOption = Annotated[
    str, typer.Option(metavar="NAME", help="Of the service; several can be on one device.")
]
ServiceOption = Annotated[
    Literal["user", "system", "none"],
    typer.Option(help="Whose systemd runs it; system takes a sudo that asks nothing."),
]
SshConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Instead of your own SSH config.")
]
WatchOption = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="For so long it must stay healthy.")
]
WaitOption = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="For another deploy there to end.")
]
ParallelOption = Annotated[
    int, typer.Option(min=1, max=256, help="With --hosts: so many at a time.")
]
NoCanary = Annotated[
    bool, typer.Option("--no-canary", help="With --hosts: do not try the first one alone.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs, instead of a table.")
]
