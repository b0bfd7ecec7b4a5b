"""`edgeproof devices`: what this machine is, and which devices edgeproof knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from devices._engines import EngineState, engines
from devices.errors import UnknownDeviceError
from devices.facts import Device, detect
from devices.profiles import (
    PROFILES_FOLDER,
    Profile,
    load_profiles,
    profile_file,
    profile_for,
    user_profiles_folder,
)


def mount(app: typer.Typer) -> None:
    """Add the command `devices` to an app."""
    app.command("devices", short_help="What this machine is, and the known boards.")(
        devices_command
    )


def devices_command(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs, instead of tables.")
    ] = False,
    root: Annotated[
        Path, typer.Option(help="Read the facts under this folder.", hidden=True)
    ] = Path("/"),
) -> None:
    """Show what this machine is, the profile that suits it, and every device profile."""
    device = detect(root)
    profiles = load_profiles()
    chosen = _profile_or_none(device)
    if json_output:
        _print_json(device, chosen, profiles)
    else:
        _print_tables(device, chosen, profiles)


def _profile_or_none(device: Device) -> Profile | None:
    try:
        return profile_for(device)
    except UnknownDeviceError:
        return None


def _print_json(device: Device, chosen: Profile | None, profiles: Mapping[str, Profile]) -> None:
    import json

    report = {
        "device": device.as_dict(),
        "profile": chosen.name if chosen else None,
        "threads": chosen.threads_on(device) if chosen else None,
        "engines": [each.as_dict() for each in engines(device.architecture)],
        "profiles": [each.as_dict() for each in profiles.values()],
    }
    typer.echo(json.dumps(report, indent=2))


def _print_tables(device: Device, chosen: Profile | None, profiles: Mapping[str, Profile]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    facts = Table(title="This machine", title_justify="left", show_header=False)
    for label, value in _fact_rows(device, chosen):
        facts.add_row(label, Text(value))  # Text: a "[" in a camera's name is no markup
    console.print(facts)

    known = Table(title="Device profiles", title_justify="left")
    known.add_column("Profile", no_wrap=True)  # the name is what the user types
    for heading in ("Device", "Threads", "First choice", "Camera"):
        known.add_column(heading)
    for each in profiles.values():
        cells = map(Text, _profile_row(each))  # a "[" in a title is no markup
        known.add_row(*cells, style="bold" if each is chosen else None)
    console.print(known)
    console.print(Text(f"Your own profiles: {user_profiles_folder()}/NAME.toml"))


def _fact_rows(device: Device, chosen: Profile | None) -> Iterable[tuple[str, str]]:
    cameras = [f"{camera.path} ({camera.name or 'no name'})" for camera in device.cameras]
    yield "Model", device.model or "unknown"
    yield "Device tree", ", ".join(device.compatible) or "none"
    if device.soc:
        yield "SoC", device.soc
    yield "Architecture", device.architecture or "unknown"
    yield "CPU", device.cpu_model or "unknown"
    yield "CPU features", " ".join(device.cpu_features) or "none that matter"
    yield "Cores", _cores(device)
    yield "Memory", _gibibytes(device.memory_bytes)
    yield "System", device.os_name or "unknown"
    yield "Python", device.python_version
    yield "Cameras", "\n".join(cameras) or "none"
    yield "Accelerators", ", ".join(device.accelerators) or "none"
    if jetson := device.jetson:
        names = {"JetPack": jetson.jetpack, "L4T": jetson.l4t}
        names |= {"CUDA": jetson.cuda, "TensorRT": jetson.tensorrt}
        yield "Jetson", ", ".join(f"{name} {value or 'unknown'}" for name, value in names.items())
    yield "Engines here", "\n".join(_engine(each) for each in engines(device.architecture))
    if chosen is None:
        yield "Profile", "none suits this architecture: name one of those below yourself"
        return
    yield "Profile", _profile(chosen, device)
    yield "Variants", ", ".join(chosen.variants)
    yield "Engines, best first", ", ".join(chosen.engine)
    yield "Threads", str(chosen.threads_on(device))
    if chosen.notes:
        yield "Notes", chosen.notes


def _engine(state: EngineState) -> str:
    if state.version:
        return f"{state.name} {state.version}"
    return f"{state.name}: not installed; {state.install or state.why_not}"


def _profile(chosen: Profile, device: Device) -> str:
    text = f"{chosen.name} ({chosen.title})"
    if chosen.name.startswith("generic_"):
        return f"{text}: {device.model or 'this machine'} has none of its own"
    file = profile_file(chosen.name)
    return text if file.parent == PROFILES_FOLDER else f"{text}, from {file}"


def _cores(device: Device) -> str:
    if device.logical_cores is None:
        return "unknown"
    usable = device.usable_cores or device.logical_cores
    return f"{device.physical_cores} physical, {device.logical_cores} logical, {usable} usable"


def _gibibytes(memory_bytes: int | None) -> str:
    return f"{memory_bytes / 2**30:.1f} GiB" if memory_bytes else "unknown"


def _profile_row(each: Profile) -> tuple[str, str, str, str, str]:
    threads = str(each.threads) if each.threads else "all cores"
    return (
        each.name,
        each.title,
        threads,
        each.variants[0],
        each.camera.kind,
    )
