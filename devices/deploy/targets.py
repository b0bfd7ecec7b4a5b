"""Which devices a command goes to, and how it connects to them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.errors import DeployError
from devices.deploy.hosts import Host, read_hosts


def targets_of(host: str | None, hosts: Path | None) -> tuple[Host, ...]:
    """One device, or those of a file.

    Raises:
        DeployError: when it is neither or both.
    """
    if (host is None) == (hosts is None):
        raise DeployError("name one device, USER@HOST, or a file of them with --hosts FILE.")
    if hosts is not None:
        return read_hosts(hosts)
    return (Host(Address(host or "")),)


def connection_to(host: Host, ssh_config: Path | None, *, alone: bool) -> Connection:
    """A connection that is not open yet.

    Args:
        alone: there is no other device at the same time, so that ssh may ask the user.

    Raises:
        DeployError: when the configuration file is not there.
    """
    if ssh_config is not None and not ssh_config.is_file():
        raise DeployError(f"--ssh-config {ssh_config}: there is no such file.")
    return Connection(host.address, SshOptions(ssh_config, ask=alone and sys.stdin.isatty()))


def require_name(name: str) -> None:
    """Raises DeployError for what cannot be part of a unit's name and a folder's."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise DeployError(f"--name {name!r}: small letters, digits and dashes, at most 40.")
