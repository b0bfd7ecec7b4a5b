"""The check of a release as a service of its own, with the credentials that the camera's has.

The key of an encrypted bundle may be a systemd credential, which no login of the user can read: an
administrator gives it to the camera's unit, in a drop-in. The check then gets it, too.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

from devices.deploy.remote.place import Place, disk_errors, write_text
from devices.deploy.remote.service import Service, quoted, read_text, service_of, user_name

_GIVES = ("LoadCredential", "SetCredential", "ImportCredential")


def credentials(params: dict[str, Any]) -> list[str]:
    """The lines of the camera's drop-ins that give it credentials; none for a user's service."""
    service = service_of(params)
    if service is None or not service.system:
        return []
    drop_ins = sorted(service.file.with_name(f"{service.unit}.d").glob("*.conf"))
    lines = (line.strip() for file in drop_ins for line in read_text(file).splitlines())
    return [line for line in lines if line.startswith(_GIVES)]


def check_as_service(
    place: Place, params: dict[str, Any], command: list[str], given: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it said is its output.

    Raises:
        StepError: when its unit cannot be written.
    """
    script, said = place.root / "check", place.state / "check.txt"
    # No --name has a dot: this is no camera's.
    service = Service(f"{params['unit'].removesuffix('.service')}.check.service", system=True)
    text = params["check_unit"]
    for key, value in {
        "{check}": quoted(script),
        "{credentials}": "\n".join(given),
        "{user}": user_name(),
        "{state}": quoted(place.state),
    }.items():
        text = text.replace(key, value)
    with disk_errors(place.root):
        said.unlink(missing_ok=True)
        told = f"> {shlex.quote(str(said))} 2>&1"
        write_text(script, f"#!/bin/sh\ncd / && exec {shlex.join(command)} {told}\n", 0o755)
        failed, why = service.run_once(text)
        output = read_text(said)
    return subprocess.CompletedProcess(command, int(failed), output, "" if output else why)
