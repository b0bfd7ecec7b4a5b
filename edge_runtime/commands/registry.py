"""`edgeproof push` and `edgeproof pull`: bundles in container registries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.commands.arguments import BundleArgument

ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REGISTRY/REPOSITORY:TAG", help="Or ...@sha256:DIGEST, which never changes."
    ),
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Without TLS, for a registry on this machine.")
]


def push_command(
    bundle: BundleArgument, reference: ReferenceArgument, plain_http: PlainHttp = False
) -> None:
    """Store a bundle in a container registry as an OCI artifact; prints it by digest.

    The login is what docker login left, or EDGEPROOF_REGISTRY_USER and ..._PASSWORD.
    """
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import RegistryError
    from edge_runtime.registry.artifact import push, require_unencrypted
    from edge_runtime.registry.client import Client
    from edge_runtime.registry.reference import Reference

    place = Reference.parse(reference)
    if place.digest:
        raise RegistryError(f"{reference}: a digest is what comes out of it; give a tag.")
    require_unencrypted(bundle)  # before anybody decrypts it
    digest = push(Bundle.open(bundle), Client(place, plain_http=plain_http))
    typer.echo(place.at(digest))


def pull_command(
    reference: ReferenceArgument,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="[default: REPOSITORY.bundle]", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let a bundle that is there give way.")
    ] = False,
    plain_http: PlainHttp = False,
) -> None:
    """Take a bundle back from a registry: whole, every hash checked, or not at all."""
    from edge_runtime.registry.artifact import pull
    from edge_runtime.registry.client import Client
    from edge_runtime.registry.reference import Reference

    place = Reference.parse(reference)
    final = out or Path(f"{place.repository.rpartition('/')[2]}.bundle")
    digest = pull(Client(place, plain_http=plain_http), final, overwrite=overwrite)
    typer.echo(f"{final}: {place.at(digest)}")
