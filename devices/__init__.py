"""Which machine is this, how is it doing, and what suits it: facts read from the system, and
profiles as data.

The lowest floor of edgeproof: needs nothing but Python, and costs next to nothing to import.
"""

from devices._accelerators import Jetson
from devices._engines import EngineState, engines
from devices._health import Health, HealthSampler, health
from devices.errors import EdgeproofError, ProfileError, UnknownDeviceError
from devices.facts import Camera, Device, detect
from devices.profiles import (
    CameraSettings,
    Match,
    Profile,
    load_profiles,
    profile,
    profile_file,
    profile_for,
    profile_names,
    user_profiles_folder,
)

__all__ = [
    "Camera",
    "CameraSettings",
    "Device",
    "EdgeproofError",
    "EngineState",
    "Health",
    "HealthSampler",
    "Jetson",
    "Match",
    "Profile",
    "ProfileError",
    "UnknownDeviceError",
    "detect",
    "engines",
    "health",
    "load_profiles",
    "profile",
    "profile_file",
    "profile_for",
    "profile_names",
    "user_profiles_folder",
]
