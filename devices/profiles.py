"""Profiles: one TOML file per kind of device, telling how to recognise it and what suits it.

A new device is a new file in the folder `profiles` beside this module, or in the user's own folder
(`user_profiles_folder`), whose files come before those of the same name or the same fit; a file's
name is the profile's name. The classes below say what a file may hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from devices._reading import names_in
from devices.errors import ProfileError, UnknownDeviceError, did_you_mean
from devices.facts import Device

PROFILES_FOLDER = Path(__file__).parent / "profiles"

# What the converters make; a test holds the two lists together.
VARIANTS = (
    "tflite-float32",
    "tflite-float16",
    "tflite-dynamic",
    "tflite-int8",
    "tflite-int16x8",
    "onnx-float32",
    "onnx-float16",
    "onnx-int8",
)
# What `convert` can be asked for; "c" is C++ source for microcontrollers and runs on no engine.
EXPORTS = (*VARIANTS, "c")
ONNX_INT8_SCHEMES = ("s8s8", "u8s8", "symmetric")
# onnxruntime's execution providers; each is passed over where the installed onnxruntime lacks it.
PROVIDERS = ("tensorrt", "cuda", "cpu")
ENGINES = ("litert", "tflite-runtime", "onnxruntime")
CAMERA_KINDS = ("v4l2", "picamera2", "nvargus")


@dataclass(frozen=True)
class Match:
    """How a device is recognised; regular expressions are searched, so anchor them with ^ and $.

    Attributes:
        compatible: any one found in any device-tree `compatible` name is a match (the surest).
        model: any one found in the board's model string is a match.
        architecture: the device's architecture must be one of these; empty means any. A profile
            with nothing else is a generic one, taken when no other fits.
    """

    compatible: tuple[re.Pattern[str], ...] = ()
    model: tuple[re.Pattern[str], ...] = ()
    architecture: tuple[str, ...] = ()

    def score(self, device: Device) -> tuple[int, int]:
        """How specific the match is: (0, 0) none, then architecture, model, `compatible`.

        The second number is the length of the text that matched: longer is more specific.
        """
        if self.architecture and device.architecture not in self.architecture:
            return (0, 0)
        if length := _longest_match(self.compatible, device.compatible):
            return (3, length)
        if length := _longest_match(self.model, (device.model or "",)):
            return (2, length)
        generic = self.architecture and not (self.compatible or self.model)
        return (1, 0) if generic else (0, 0)


@dataclass(frozen=True)
class CameraSettings:
    """How the cameras of a kind of device open.

    Attributes:
        kind: "v4l2" (USB and plain V4L2), "picamera2" (CSI on Raspberry Pi, through libcamera) or
            "nvargus" (CSI on Jetson, through GStreamer).
        width, height: picture asked for, in pixels.
        fps: pictures per second asked for.
        pipeline: GStreamer pipeline of an nvargus camera, with the fields {index}, {width},
            {height} and {fps}; empty for the other kinds.
    """

    kind: str
    width: int
    height: int
    fps: int
    pipeline: str = ""

    def gstreamer(self, index: int = 0) -> str:
        """The pipeline with its fields filled in; empty when this kind has none."""
        return self.pipeline.format(index=index, width=self.width, height=self.height, fps=self.fps)


@dataclass(frozen=True)
class Profile:
    """What suits one kind of device.

    Attributes:
        name: name of its file without ".toml", e.g. "raspberry_pi_5".
        title: name for people, e.g. "Raspberry Pi 5".
        match: how the device is recognised.
        variants: "<format>-<precision>", best first; take the first that the bundle has.
        export: what `convert --target` makes for it: what it runs, and a fallback.
        onnx_int8: how its int8 ONNX is quantised: "s8s8" (signed activations: ARM), "u8s8"
            (unsigned: x86 with VNNI) or "symmetric" (no zero points: TensorRT).
        engine: runtimes, best first; take the first that is installed and runs the variant.
        threads: inference threads; 0 means one per physical core. See `threads_on`.
        camera: how its cameras open.
        qemu_cpu: the `-cpu` of QEMU that stands in for it in tests; may be empty.
        notes: what the user should know; may be empty.
        providers: onnxruntime's execution providers, best first.
    """

    name: str
    title: str
    match: Match = field(repr=False)
    variants: tuple[str, ...]
    export: tuple[str, ...]
    onnx_int8: str
    engine: tuple[str, ...]
    threads: int
    camera: CameraSettings
    qemu_cpu: str
    notes: str = ""
    providers: tuple[str, ...] = ("cpu",)

    def threads_on(self, device: Device) -> int:
        """Threads for this very machine, never more than the cores the process may use."""
        usable = device.usable_cores or device.logical_cores or self.threads or 1
        return max(1, min(self.threads or device.physical_cores or usable, usable))

    def as_dict(self) -> dict[str, Any]:
        """The profile as plain values, ready for JSON; patterns as their text."""
        match = {
            "compatible": [pattern.pattern for pattern in self.match.compatible],
            "model": [pattern.pattern for pattern in self.match.model],
            "architecture": list(self.match.architecture),
        }
        lists = {
            name: list(getattr(self, name))
            for name in ("variants", "export", "engine", "providers")
        }
        fields = {key: value for key, value in vars(self).items() if key not in {"camera", "match"}}
        return fields | lists | {"match": match} | {"camera": asdict(self.camera)}


def user_profiles_folder() -> Path:
    """Where a user's own profiles lie: `edgeproof/profiles` in the configuration folder.

    That is $XDG_CONFIG_HOME where it is an absolute path, else ~/.config
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not configured.is_absolute():
        configured = Path(os.path.expanduser("~")) / ".config"  # noqa: PTH111 never raises
    return configured / "edgeproof" / "profiles"


def load_profiles(folder: Path | None = None) -> Mapping[str, Profile]:
    """Every profile by name, in alphabetical order: edgeproof's and the user's.

    Args:
        folder: the profiles of this folder only.

    Raises:
        ProfileError: a file is malformed (it names the file, the key and what is wrong), or the
            folder holds none.
    """
    files = _profile_files() if folder is None else _files_in(Path(folder))
    if not files:
        place = folder or PROFILES_FOLDER
        raise ProfileError(f"{place}: no profile (*.toml) in this folder. Reinstall edgeproof.")
    return MappingProxyType({name: _load_file(path) for name, path in sorted(files.items())})


def profile(name: str) -> Profile:
    """Look up a profile by name, e.g. "raspberry_pi_5".

    Raises:
        UnknownDeviceError: no profile has that name; the message suggests the nearest.
        ProfileError: its file is malformed.
    """
    return _load_file(profile_file(name))


def profile_file(name: str) -> Path:
    """The file of a profile; a user's comes before edgeproof's of the same name.

    Raises:
        UnknownDeviceError: no profile has that name; the message suggests the nearest.
    """
    files = _profile_files()
    if name not in files:
        known = sorted(files)
        raise UnknownDeviceError(
            f"No device profile {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )
    return files[name]


def profile_names() -> tuple[str, ...]:
    """Names of all profiles, edgeproof's and the user's, sorted; reads no file."""
    return tuple(sorted(_profile_files()))


def profile_for(device: Device) -> Profile:
    """The most specific profile for a machine; a generic one of its architecture at the least.

    Raises:
        UnknownDeviceError: not even a generic profile has the machine's architecture.
        ProfileError: a profile file is malformed.
    """
    profiles, files, own = load_profiles(), _profile_files(), user_profiles_folder()

    def fit(each: Profile) -> tuple[int, int, bool]:
        return (*each.match.score(device), files[each.name].parent == own)

    best = max(profiles.values(), key=fit)
    if best.match.score(device) == (0, 0):
        raise UnknownDeviceError(
            f"No device profile suits {device.model or 'this machine'} with architecture "
            f"{device.architecture or 'unknown'}. Name one yourself: {', '.join(profiles)}."
        )
    return best


def _longest_match(patterns: tuple[re.Pattern[str], ...], texts: tuple[str, ...]) -> int:
    hits = (pattern.search(text) for pattern in patterns for text in texts)
    return max((len(hit.group()) for hit in hits if hit), default=0)


def _profile_files() -> dict[str, Path]:
    return _files_in(PROFILES_FOLDER) | _files_in(user_profiles_folder())


def _files_in(folder: Path) -> dict[str, Path]:
    """Profile name -> file; none where the folder cannot be read."""
    names = [name for name in names_in(folder) if name.endswith(".toml") and name[0] != "."]
    return {name.removesuffix(".toml"): folder / name for name in names}


@cache
def _load_file(path: Path) -> Profile:
    from devices._profile_file import profile_from_toml  # tomllib is not needed to import devices

    return profile_from_toml(path)
