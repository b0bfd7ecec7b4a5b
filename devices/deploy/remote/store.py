"""Releases on the device: copied beside, checked, given their final name in one rename."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from devices.deploy.remote.history import previous_good, read_history
from devices.deploy.remote.place import (
    FREE_SOME,
    NO_ROOM,
    Place,
    StepError,
    disk_errors,
    inside,
    is_same,
    read_json,
    remove,
    safe_name,
    sync_folder,
    write_text,
)
from devices.deploy.remote.service import filled_unit, read_text

# Left free on the disk: a board whose disk is full cannot even log why.
SPARE_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20
# What is written down of a release: all that checks it again, and starts it.
_KEPT = ("folder", "files", "check", "start", "only_check", "python", "key", "service", "version")


def prepare(place: Place, params: dict[str, Any]) -> dict[str, Any]:
    """Find out what is missing here, and whether it has room.

    Files that an earlier release holds, or a deploy left that was refused, are linked into the new
    one (copied where the disk knows no links), after their hash has been checked.

    Raises:
        StepError: when there is no room.
    """
    with disk_errors(place.root):
        place.make()
        name = _free_name(place, params)
        if (place.parts / name).is_symlink():
            remove(place.parts / name)
        sealed = (place.releases / name).is_dir()
        missing = [] if sealed else _missing_files(place, name, params)
        for part in place.parts.iterdir():
            if part.name != name:
                remove(part)
        wheels = [] if _is_built(place, params["key"]) else _missing_wheels(place, params["wheels"])
        needed = sum(entry[2] for entry in (*missing, *wheels))
        if params["key"] and not _is_built(place, params["key"]):
            needed += params["environment_bytes"]
        _require_room(place, needed)
    return {"release": name, "sealed": sealed, "files": missing, "wheels": wheels}


def receive(place: Place, params: dict[str, Any], source: BinaryIO) -> dict[str, Any]:
    """Take files from the connection: each gets its name once all its bytes are here and right.

    What came whole stays for the next try, unless the disk is full: others need the room then.

    Raises:
        StepError: when the connection ends before its time, other bytes came, or the disk is full.
    """
    part = place.parts / safe_name(params["release"])
    with disk_errors(place.root):
        try:
            for path, sha256, size in params["files"]:
                _receive_one(inside(part / params["folder"], path), sha256, size, source)
            for file, sha256, size in params["wheels"]:
                _receive_one(_wheel(place, file, sha256), sha256, size, source)
        except OSError as exc:
            if exc.errno in NO_ROOM:
                for folder in (part, *(place.wheels / sha256 for _, sha256, _ in params["wheels"])):
                    remove(folder)
            raise
    return {}


def check_hashes(folder: Path, files: list[list[Any]]) -> None:
    """Hold every file of a release against its hash, as it lies on this disk.

    Raises:
        StepError: at the first that is missing or differs.
    """
    for path, sha256, size in files:
        if not is_same(inside(folder, path), sha256, size):
            raise StepError(f"{path}: is missing or differs on this disk; deploy again")


def seal(place: Place, params: dict[str, Any]) -> dict[str, Any]:
    """Give a checked release its final name; its unit lies in it.

    Raises:
        StepError: when it cannot be written.
    """
    name = safe_name(params["release"])
    part, final = place.parts / name, place.release(name)
    unit = filled_unit(place, params, final / "start")
    with disk_errors(place.root):
        if final.is_dir():
            # The device may keep limits by now that it could not keep then.
            if read_text(final / "unit") != unit:
                write_text(final / "unit", unit)
            return {}
        write_text(part / "unit", unit)
        write_text(part / "start", start_script(place, params), 0o755)
        record = {key: params[key] for key in _KEPT}
        record["made"] = round(time.time())
        write_text(part / "release.json", json.dumps(record, indent=1))
        for folder, _, _ in os.walk(part):
            sync_folder(Path(folder))
        part.replace(final)
        sync_folder(place.releases)
    return {}


def start_script(place: Place, params: dict[str, Any]) -> str:
    """What the service runs: this release's files, in this release's Python."""
    folder = place.release(params["release"]) / params["folder"]
    command = [python_of(place, params), *filled(params["start"], folder, place)]
    return (
        "#!/bin/sh\n"
        "# Written by edgeproof deploy.\n"
        f"cd {shlex.quote(str(place.state))} || exit 1\n"
        f"exec {shlex.join(command)}\n"
    )


def python_of(place: Place, params: dict[str, Any]) -> str:
    """The Python that runs a release: its own environment's, or the one that was named."""
    if params["python"]:
        return str(Path(params["python"]).expanduser())
    return str(place.venvs / safe_name(params["key"]) / "bin" / "python")


def filled(arguments: list[str], folder: Path, place: Place) -> list[str]:
    """Arguments with the paths of this device in them."""
    paths = {"{folder}": str(folder), "{status}": str(place.status)}
    found = []
    for argument in arguments:
        first, slash, rest = argument.partition("/")
        found.append(f"{paths[first]}{slash}{rest}" if first in paths else argument)
    return found


def release_record(place: Place, name: str) -> dict[str, Any]:
    """What was written down of a release when it was sealed.

    Raises:
        StepError: when there is no such release.
    """
    record = read_json(place.release(name) / "release.json")
    if not {"folder", "files", "check", "start", "python", "key"} <= record.keys():
        known = ", ".join(sorted(entry.name for entry in _releases(place))) or "none"
        raise StepError(f"holds no release {name!r}; it holds: {known}")
    return record


def prune(place: Place, keep: int) -> list[str]:
    """Remove the oldest releases, and what none needs: environments, packages, half of a copy.

    Those that were not healthy go first.
    The release that runs and the last good one before it stay, whatever `keep` says.
    """
    with disk_errors(place.root):
        failed = _failed(place)
        oldest = sorted(_releases(place), key=lambda entry: (entry.name not in failed, _age(entry)))
        names = [entry.name for entry in oldest]
        kept = {place.current_release(), previous_good(place)}
        others = [name for name in names if name not in kept]
        room = max(0, keep - len(names) + len(others))
        gone = others[: max(0, len(others) - room)]
        for name in gone:
            remove(place.release(name))
        left = {_record_key(entry) for entry in _releases(place)}
        wheels: set[str] = set()
        for venv in _folders(place.venvs):
            if venv.name in left:
                wheels |= set(read_json(venv / "complete").get("wheels", []))
            else:
                remove(venv)
        for wheel in _folders(place.wheels):
            if wheel.name not in wheels:
                remove(wheel)
        for part in _folders(place.parts):
            remove(part)
        for folder in (place.releases, place.venvs, place.wheels):
            for dead in folder.glob(".*.dead"):
                shutil.rmtree(dead, ignore_errors=True)
    return gone


def _failed(place: Place) -> set[str]:
    last = {str(entry.get("release")): entry.get("outcome") for entry in read_history(place)}
    return {name for name, outcome in last.items() if outcome == "returned"}


def list_releases(place: Place) -> list[dict[str, Any]]:
    """Every release here, newest first."""
    current, good = place.current_release(), previous_good(place)
    outcomes = {str(entry.get("release")): entry for entry in read_history(place)}
    found = []
    for entry in sorted(_releases(place), key=_age, reverse=True):
        record, last = read_json(entry / "release.json"), outcomes.get(entry.name, {})
        found.append(
            {
                "release": entry.name,
                "current": entry.name == current,
                "previous": entry.name == good,
                "made": record.get("made"),
                "bytes": sum(file[2] for file in record.get("files", [])),
                "edgeproof": record.get("version"),
                "outcome": last.get("outcome"),
                "reason": last.get("reason"),
            }
        )
    return found


def _free_name(place: Place, params: dict[str, Any]) -> str:
    """The release's name; with a number behind it where a damaged one lies under it."""
    base = name = safe_name(params["release"])
    number = 1
    while (final := place.releases / name).is_dir():
        with contextlib.suppress(StepError):
            if not final.is_symlink():
                check_hashes(final / params["folder"], params["files"])
                return name
        number += 1
        name = f"{base}-{number}"
    return name


def _missing_files(place: Place, name: str, params: dict[str, Any]) -> list[list[Any]]:
    folder = place.parts / name / params["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    here = {sha256: file for file, sha256 in _files_here(place)}
    left = _files_left(place, name)
    missing = []
    for path, sha256, size in params["files"]:
        file = inside(folder, path)
        if is_same(file, sha256, size):
            continue  # an earlier deploy was cut off after it
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        candidates = [here[sha256]] if sha256 in here else []
        candidates += left.get(size, [])
        for other in candidates:
            if is_same(other, sha256, size):
                _link(other, file)
                break
        else:
            missing.append([path, sha256, size])
    return missing


def _files_left(place: Place, name: str) -> dict[int, list[Path]]:
    """By size, what other deploys have copied that never became a release."""
    found: dict[int, list[Path]] = {}
    for part in _folders(place.parts):
        for folder, _, files in os.walk(part) if part.name != name else ():
            for file in (Path(folder, each) for each in files):
                if not file.is_symlink():
                    found.setdefault(file.stat().st_size, []).append(file)
    return found


def _files_here(place: Place) -> Iterator[tuple[Path, str]]:
    for entry in _releases(place):
        record = read_json(entry / "release.json")
        for path, sha256, _ in record.get("files", []):
            yield entry / str(record.get("folder")) / path, sha256


def _link(there: Path, here: Path) -> None:
    part = here.with_name(f".{here.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(there, part)
    except OSError:  # a file system without links
        shutil.copyfile(there, part)
    part.replace(here)


def _missing_wheels(place: Place, wheels: list[list[Any]]) -> list[list[Any]]:
    return [
        [name, sha256, size]
        for name, sha256, size in wheels
        if not is_same(_wheel(place, name, sha256), sha256, size)
    ]


def _wheel(place: Place, name: str, sha256: str) -> Path:
    return place.wheels / safe_name(sha256) / _wheel_name(name)


def _wheel_name(name: str) -> str:
    if "/" in name or name.startswith(".") or not name.endswith(".whl"):
        raise StepError(f"{name!r}: is no name of a wheel")
    return name


def _receive_one(file: Path, sha256: str, size: int, source: BinaryIO) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)  # one that was whole, and killed before its rename, is read-only
    with part.open("wb") as out:
        left = size
        while left:
            chunk = source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise StepError(f"{file.name}: the connection ended in the middle of it")
            out.write(chunk)
            left -= len(chunk)
        out.flush()
        os.fsync(out.fileno())
    if not is_same(part, sha256, size):
        part.unlink(missing_ok=True)
        raise StepError(f"{file.name}: arrived damaged, or changed while it was sent; deploy again")
    part.chmod(0o444)
    part.replace(file)


def _require_room(place: Place, needed: int) -> None:
    free = shutil.disk_usage(place.root).free
    if free < needed + SPARE_BYTES:
        raise StepError(
            f"no room: {_mega(needed + SPARE_BYTES)} are needed below {place.root}, "
            f"{_mega(free)} are free; {FREE_SOME}"
        )


def _mega(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _is_built(place: Place, key: str) -> bool:
    return not key or (place.venvs / key / "complete").is_file()


def _releases(place: Place) -> list[Path]:
    return [entry for entry in _folders(place.releases) if (entry / "release.json").is_file()]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    entries = (entry for entry in folder.iterdir() if entry.name[0] != ".")
    return [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]


def _age(release: Path) -> tuple[int, str]:
    made = read_json(release / "release.json").get("made")
    return (made if isinstance(made, int) else 0, release.name)


def _record_key(release: Path) -> str:
    return str(read_json(release / "release.json").get("key"))


def require_python() -> None:
    """This program runs in the Python that will make the environment."""
    if sys.version_info < (3, 10):  # noqa: UP036 the device's Python, not the workstation's
        version = ".".join(map(str, sys.version_info[:2]))
        raise StepError(f"has Python {version}; edgeproof needs 3.10 to 3.13")
