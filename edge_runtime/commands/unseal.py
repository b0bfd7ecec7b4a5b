"""`edgeproof unseal`: encrypted hard frames back to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def unseal_command(
    folder: Annotated[
        Path, typer.Argument(help="A folder of `edgeproof run --keep-hard ... --encrypt-to ...`.")
    ],
    key: Annotated[
        Path, typer.Option(help="File with the private key, as age-keygen or ssh-keygen makes it.")
    ],
    out: Annotated[Path, typer.Option(help="Where the pictures go.")],
) -> None:
    """Decrypt hard frames, so that they can be sorted and learnt from.

    Not on the device: the private key belongs elsewhere. `age -d -i KEY` decrypts them one by one.
    """
    from edge_runtime.sinks.hard.seal import Opener
    from edge_runtime.sinks.hard.unseal import unseal
    from edge_runtime.text import count_of, printable

    done = unseal(folder, Opener(key), out, on_note=lambda text: typer.echo(text, err=True))
    for failure in done.failed[:10]:
        typer.echo(f"edgeproof: {printable(failure)}", err=True)
    if len(done.failed) > 1:
        typer.echo(f"edgeproof: {len(done.failed)} could not be decrypted", err=True)
    present = f", {done.present} were there already" if done.present else ""
    typer.echo(f"{count_of(done.opened, 'picture')} decrypted{present}: {out}")
    if done.failed:
        raise typer.Exit(1)
