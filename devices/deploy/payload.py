"""What is deployed: files with their hashes, a check, a command."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from devices.deploy.errors import DeployError


@dataclass(frozen=True)
class PayloadFile:
    """One file: its path inside the folder, with `/`, its SHA-256 in hex, its size."""

    path: str
    sha256: str
    bytes: int

    def entry(self) -> list[str | int]:
        """As a step takes it."""
        return [self.path, self.sha256, self.bytes]


@dataclass(frozen=True)
class Payload:
    """A folder to put to work.

    Attributes:
        name: what to call it; the folder keeps that name on the device.
        folder: where its files lie here.
        check: arguments for the device's Python, run before the switch; must exit with 0.
        start: arguments for the device's Python that start the service.
            In both, `{folder}` and `{status}` stand for the paths of folder and status file there.
        only_check: added to `start`, it ends at once; with 0 when the arguments are right.
        extras: of edgeproof that the device needs besides the bare install, such as "onnx".

    Raises:
        DeployError: when the name is no name for a folder.
    """

    name: str
    folder: Path
    files: tuple[PayloadFile, ...]
    check: tuple[str, ...]
    start: tuple[str, ...]
    only_check: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", self.name):
            raise DeployError(
                f"{self.name!r}: no name for a folder on a device; letters, digits, dots, dashes "
                "and underscores, at most 80"
            )

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def with_arguments(self, arguments: tuple[str, ...], extras: tuple[str, ...] = ()) -> Payload:
        """The same, started with further arguments."""
        extras = tuple(dict.fromkeys((*self.extras, *extras)))
        return replace(self, start=(*self.start, *arguments), extras=extras)

    def release(self, python: str, key: str, unit: str = "") -> str:
        """The release's name: what is in it decides it, so that the same is never sent twice.

        Args:
            python: that runs it; empty for the environment of that `key`.
            unit: that systemd starts it by; empty for none.
        """
        content = [file.entry() for file in sorted(self.files, key=lambda file: file.path)]
        made_of = json.dumps([content, self.check, self.start, python, key, unit])
        stem = self.name.removesuffix(".age").removesuffix(".bundle")[:60]
        return f"{stem}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
