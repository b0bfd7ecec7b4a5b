"""Which machine is this, and what suits it: facts read from the system, and profiles as data.

The lowest floor of edgeproof: needs nothing but Python, and costs next to nothing to import.
"""

from devices.errors import EdgeproofError, ProfileError, UnknownDeviceError
from devices.facts import Camera, Device, detect
from devices.profiles import (
    CameraSettings,
    Match,
    Profile,
    load_profiles,
    profile,
    profile_for,
    profile_names,
)

__all__ = [
    "Camera",
    "CameraSettings",
    "Device",
    "EdgeproofError",
    "Match",
    "Profile",
    "ProfileError",
    "UnknownDeviceError",
    "detect",
    "load_profiles",
    "profile",
    "profile_for",
    "profile_names",
]
