"""Which engines are installed in this Python, and which could be; nothing of them is imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Wheels:
    """What packages of one engine there are; an entry of wheels.toml.

    Attributes:
        packages: any one of them provides the engine.
        install: the line that installs it.
        architectures: those that have wheels.
        pythons: oldest and newest minor version of Python 3 with a wheel.
        glibc: oldest minor version of the C library 2 that the wheels for ARM run on.
        numpy_below: major version of numpy that it does not work with any more; None for none.
    """

    packages: tuple[str, ...]
    install: str
    architectures: tuple[str, ...]
    pythons: tuple[int, int]
    glibc: int
    numpy_below: int | None = None


@dataclass(frozen=True)
class EngineState:
    """One engine in one Python.

    Attributes:
        name: "litert", "tflite-runtime" or "onnxruntime".
        version: of the installed package; None where none is installed.
        install: the line that installs it; empty where there is no wheel.
        why_not: why there is no wheel for this Python; empty where there is.
    """

    name: str
    version: str | None
    install: str = ""
    why_not: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The state as plain values, ready for JSON."""
        return asdict(self)


def engines(
    architecture: str | None,
    *,
    packages: Mapping[str, str] | None = None,
    python: Sequence[int] = sys.version_info[:2],
    glibc: Sequence[int] | None = None,
) -> tuple[EngineState, ...]:
    """Every engine, installed or not.

    Args:
        architecture: of the programs that run, as `Device.architecture` has it.
        packages: name -> version of what is installed; by default, of what this Python has.
        python, glibc: versions, e.g. (3, 11) and (2, 36); by default, this Python's.
    """
    installed = installed_packages() if packages is None else packages
    library = glibc_version() if glibc is None else glibc
    return tuple(
        _state(name, each, architecture, installed, python, library)
        for name, each in engine_wheels().items()
    )


def installed_packages(path: Sequence[str] | None = None) -> dict[str, str]:
    """Name (lower case, hyphens) -> version of every package that a Python would find.

    Args:
        path: folders to look in; by default this Python's own.
    """
    from importlib.metadata import distributions  # 20 ms that other commands do not pay

    found: dict[str, str] = {}
    for each in distributions(path=list(sys.path if path is None else path)):
        try:
            name, version = each.metadata["Name"], each.version
        except (KeyError, ValueError, OSError):  # half of a package: an interrupted installation
            continue
        if name and version:  # the first that is found is the one that is imported
            found.setdefault(name.lower().replace("_", "-"), version)
    return found


@cache
def engine_wheels() -> Mapping[str, Wheels]:
    """Engine -> its wheels, as wheels.toml beside this module has them."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # Python 3.10
        import tomli as tomllib

    text = Path(__file__).with_name("wheels.toml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = tomllib.loads(text)
    return MappingProxyType({name: _wheels(**entry) for name, entry in entries.items()})


def engine_architectures() -> frozenset[str]:
    """Every architecture for which some engine has wheels."""
    return frozenset(name for each in engine_wheels().values() for name in each.architectures)


def _wheels(**entry: Any) -> Wheels:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Wheels(**plain)


def _state(
    name: str,
    wheels: Wheels,
    architecture: str | None,
    installed: Mapping[str, str],
    python: Sequence[int],
    glibc: Sequence[int] | None,
) -> EngineState:
    version = next((installed[p] for p in wheels.packages if p in installed), None)
    if why_not := _why_no_wheel(wheels, architecture, python, glibc):
        return EngineState(name, version, why_not=why_not)
    return EngineState(name, version, install=wheels.install)


def _why_no_wheel(
    wheels: Wheels,
    architecture: str | None,
    python: Sequence[int],
    glibc: Sequence[int] | None,
) -> str:
    package = wheels.packages[0]
    oldest, newest = wheels.pythons
    if architecture not in wheels.architectures:
        have = ", ".join(wheels.architectures)
        return f"{package} has no wheel for {architecture or 'this architecture'}, only for {have}"
    if not oldest <= python[1] <= newest:
        return f"{package} has wheels for Python 3.{oldest} to 3.{newest}, this is 3.{python[1]}"
    if architecture != "x86_64" and glibc and tuple(glibc) < (2, wheels.glibc):
        have = ".".join(map(str, glibc))
        return f"{package} needs a C library (glibc) 2.{wheels.glibc} or newer, here is {have}"
    return ""


def glibc_version() -> tuple[int, ...] | None:
    """Version of the C library that this Python runs on; None where it is another one."""
    name, version = platform.libc_ver()
    parts = version.split(".")
    return tuple(map(int, parts)) if name == "glibc" and all(p.isdigit() for p in parts) else None
