"""This machine in a few words, for the record of what was made on it."""

from __future__ import annotations

import devices


def computes_in_half() -> bool:
    """Whether the processor has half-precision arithmetic, and not just conversions from and to it.

    Of ARM's cores those since Cortex-A55 and A75 have it.
    """
    return "fp16" in devices.detect().cpu_features


def machine_facts() -> dict[str, str | None]:
    """Architecture, processor, operating system and Python of this machine."""
    device = devices.detect()
    return {
        "architecture": device.architecture,
        "cpu": device.cpu_model,
        "os": device.os_name,
        "python": device.python_version,
    }
