"""This machine in a few words, for the record of what was made on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def is_this_processor(facts: Mapping[str, Any]) -> bool:
    """Whether `machine_facts` of some machine tell of a processor like this machine's.

    One that names no processor is like no other.
    """
    here = machine_facts()
    return bool(here["cpu"]) and all(facts.get(k) == here[k] for k in ("architecture", "cpu"))
