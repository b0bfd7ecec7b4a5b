"""`edgeproof sign` and `edgeproof encrypt`: who made a bundle, and who may read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.commands.arguments import BundleArgument

_PASSWORD = "EDGEPROOF_KEY_PASSWORD"


def sign_command(
    bundle: BundleArgument,
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Private key (PEM, elliptic curve P-256, P-384 or P-521)."
        ),
    ],
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate of that key, to be carried.")
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Certificates between it and its authority; repeat it."),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Of the key; or in the environment as {_PASSWORD}."),
    ] = None,
) -> None:
    """Sign every file of a bundle: adds model.sig, in OpenSSF's format.

    A bundle that is damaged, or holds a file that is none of it, is not signed.
    """
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import BundleError, TrustError
    from edge_runtime.trust.signature import sign_folder

    if not bundle.is_dir() and bundle.is_file():
        raise BundleError(f"{bundle}: sign the folder, then pack it.")
    if chain and certificate is None:
        raise TrustError("--chain goes with --certificate FILE.")
    if certificate is not None and not chain:
        raise TrustError("--certificate takes --chain FILE: the certificate of who issued it.")
    opened = Bundle.open(bundle, signed_by=())
    opened.check_files()
    opened.require_nothing_else()
    signature = sign_folder(
        opened.folder,
        key,
        password=_password(password_file),
        certificate=certificate,
        chain=chain or (),
    )
    typer.echo(f"{signature}: signs {len(opened.manifest.files) + 2} files")


def encrypt_command(
    bundle: BundleArgument,
    to: Annotated[
        list[str],
        typer.Option(metavar="KEY", help="Public key, age1..., or a file of them; repeat it."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="[default: BUNDLE.age]", show_default=False)
    ] = None,
) -> None:
    """Encrypt a bundle with age, to be read by the owners of those keys only."""
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import OptionError
    from edge_runtime.trust.encryption import SUFFIX, encrypt_bundle, recipients_of

    final = out or bundle.with_name(f"{bundle.resolve().name.removesuffix('.zip')}{SUFFIX}")
    if final.suffix != SUFFIX:
        raise OptionError(f"--out {final}: an encrypted bundle's name ends in {SUFFIX}.")
    recipients = [key for each in to for key in recipients_of(each)]
    opened = Bundle.open(bundle, signed_by=())
    opened.check_files()
    opened.require_nothing_else()
    encrypt_bundle(opened.folder, final, recipients)
    typer.echo(f"{final}: for {len(recipients)} {'key' if len(recipients) == 1 else 'keys'}")


def _password(file: Path | None) -> str | None:
    from edge_runtime.errors import TrustError

    if file is None:
        return os.environ.get(_PASSWORD)
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as exc:
        raise TrustError(f"{file}: no password can be read there: {exc}.") from exc
