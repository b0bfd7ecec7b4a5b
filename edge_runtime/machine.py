"""This machine in a few words, for the record of what was made on it."""

from __future__ import annotations

import devices


def machine_facts() -> dict[str, str | None]:
    """Architecture, processor, operating system and Python of this machine."""
    device = devices.detect()
    return {
        "architecture": device.architecture,
        "cpu": device.cpu_model,
        "os": device.os_name,
        "python": device.python_version,
    }
