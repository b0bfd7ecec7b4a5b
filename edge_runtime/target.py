"""What a device needs to be made for it, out of its profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import devices

OnnxScheme = Literal["s8s8", "u8s8", "symmetric"]


@dataclass(frozen=True)
class Target:
    """A kind of device that files are made for.

    Attributes:
        profile: its name.
        export: what to make: names of variants, and `c` for C++ source.
        onnx_int8: how its int8 ONNX is quantised.
    """

    profile: str
    export: tuple[str, ...]
    onnx_int8: OnnxScheme


def target_of(profile: str) -> Target:
    """What suits a device profile.

    Raises:
        UnknownDeviceError: when there is no profile of that name.
    """
    known = devices.profile(profile)
    return Target(known.name, known.export, cast(OnnxScheme, known.onnx_int8))
