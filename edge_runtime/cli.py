"""What a device needs: `edgeproof run`, `edgeproof verify` and `edgeproof bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.commands.bench import bench_command
from edge_runtime.commands.registry import pull_command, push_command
from edge_runtime.commands.run import run_command
from edge_runtime.commands.trust import encrypt_command, sign_command
from edge_runtime.commands.unseal import unseal_command
from edge_runtime.commands.verify import verify_command

if TYPE_CHECKING:
    import typer


def mount(app: typer.Typer) -> None:
    """Add this package's commands."""
    app.command("run", short_help="Answer a camera, a video or pictures.")(run_command)
    app.command("verify", short_help="Replay a bundle's proof on this machine.")(verify_command)
    app.command("sign", short_help="Sign a bundle.")(sign_command)
    app.command("encrypt", short_help="Encrypt a bundle.")(encrypt_command)
    app.command("push", short_help="Store a bundle in a container registry.")(push_command)
    app.command("pull", short_help="Take a bundle from a container registry.")(pull_command)
    app.command("bench", short_help="Measure every way to run a bundle here.")(bench_command)
    app.command("unseal", short_help="Decrypt hard frames that a device kept.")(unseal_command)
