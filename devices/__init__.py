"""Which machine is this, how is it doing, and what suits it: facts read from the system, and
profiles as data.

The lowest floor of edgeproof: needs nothing but Python, and costs next to nothing to import.
"""

from devices._health import Health, HealthSampler, health
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
    "Health",
    "HealthSampler",
    "Match",
    "Profile",
    "ProfileError",
    "UnknownDeviceError",
    "detect",
    "health",
    "load_profiles",
    "profile",
    "profile_for",
    "profile_names",
]
