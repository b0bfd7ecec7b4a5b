"""A file of many devices: one a line, with what its camera is called where that differs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from devices.deploy.connection import Address
from devices.deploy.errors import DeployError

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Host:
    """One device of a file.

    Attributes:
        arguments: of `edgeproof run` there; None for those that all share.
    """

    address: Address
    arguments: tuple[str, ...] | None = None


def read_hosts(file: Path) -> tuple[Host, ...]:
    """Read `ADDRESS [ARGUMENTS OF RUN]` lines; what follows a `#` is a remark.

    Raises:
        DeployError: naming the line that cannot be one.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DeployError(f"{file}: larger than any list of devices; not read.")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as exc:
        raise DeployError(f"{file}: cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise DeployError(f"{file}: is not UTF-8 text; one ADDRESS a line.") from exc
    found: dict[str, Host] = {}
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                host = Host(Address(words[0]), tuple(words[1:]) or None)
                if words[0] in found:
                    raise DeployError(f"{words[0]}: stands there twice")
                found[words[0]] = host
        except (ValueError, DeployError) as exc:
            raise DeployError(f"{file}, line {number}: {exc}.") from exc
    if not found:
        raise DeployError(f"{file}: names no device; one ADDRESS a line.")
    return tuple(found.values())
