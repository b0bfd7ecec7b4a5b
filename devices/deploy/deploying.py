"""A deploy, step by step; and the way back to an earlier release."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from devices._engines import engine_architectures
from devices.deploy.answers import Answer
from devices.deploy.connection import Connection
from devices.deploy.errors import DeployError
from devices.deploy.machine import Machine, probe
from devices.deploy.packages import Environment, Packages
from devices.deploy.payload import Payload
from devices.deploy.session import Session
from devices.deploy.text import printable
from devices.deploy.unit import UnitOptions, check_unit_text, unit_text

ServiceKind = Literal["user", "system", "none"]
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Site:
    """Where on a device: one service, with its folder and its unit.

    Attributes:
        name: of the service; several can be on one device.
        service: whose systemd runs it: the user's, the system's, or none at all.
    """

    name: str = "edgeproof"
    service: ServiceKind = "user"

    @property
    def root(self) -> str:
        """Its folder there."""
        return f"~/.local/share/edgeproof/{self.name}"

    def params(self) -> dict[str, Any]:
        """What every step is told."""
        unit = "edgeproof" if self.name == "edgeproof" else f"edgeproof-{self.name}"
        return {
            "service": self.service,
            "unit": f"{unit}.service",
            "check_unit": check_unit_text(),
        }


@dataclass(frozen=True)
class DeployOptions:
    """How a release is put to work.

    Attributes:
        python: a Python there that has edgeproof; empty: an environment of our own is made.
        offline: carry every package along.
        system_packages: the environment sees the system's packages.
        watch_s: for how long a release must stay healthy.
        start_s: how soon its first frame must come.
        still_s: for how long frames may stop.
        age_ms: how old a live frame may be at its answer.
        keep: how many releases stay on the device.
        wait_s: how long to wait for another deploy there.
        max_clock_off_s: how far the device's clock may be from this machine's.
    """

    site: Site = field(default_factory=Site)
    unit: UnitOptions = field(default_factory=UnitOptions)
    python: str = ""
    offline: bool = False
    system_packages: bool = False
    watch_s: float = 30.0
    start_s: float = 60.0
    still_s: float = 10.0
    age_ms: float = 5000.0
    keep: int = 3
    wait_s: float = 0.0
    max_clock_off_s: float = 300.0

    def limits(self) -> dict[str, float]:
        """What the watch is told."""
        names = ("watch_s", "start_s", "still_s", "age_ms")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Outcome:
    """How it went on one device.

    Attributes:
        release: the one that was to run.
        healthy: whether it was watched and stayed healthy; None where no systemd runs it.
        reason: why it is not healthy.
        runs: which release `current` leads to now.
        sent_bytes: how much was copied.
        notes: what the user should know, in words.
        command: what starts it where there is no systemd.
    """

    release: str
    healthy: bool | None
    reason: str = ""
    runs: str | None = None
    sent_bytes: int = 0
    notes: tuple[str, ...] = ()
    command: str = ""


@dataclass
class Reporter:
    """Told how a deploy goes."""

    on_step: Callable[[str], None] = lambda name: None
    on_progress: Callable[[str], None] = lambda text: None


def deploy(
    connection: Connection,
    payload: Payload,
    packages: Packages,
    options: DeployOptions | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Put a payload to work; the device runs a whole release at every moment.

    Args:
        packages: finds what the device's environment is made of.

    Raises:
        DeployError: when the device cannot take it, or does not answer as it must before the
            switch: it runs what it ran before.
        ConnectionFailed: when the connection is cut. Up to the switch nothing has changed; after it
            the device watches the new release by itself.
    """
    options, reporter = options or DeployOptions(), reporter or Reporter()
    session, machine = open_session(connection, payload, options, reporter)
    environment = _environment(machine, payload, packages, options)
    service = options.site.service
    unit = "" if service == "none" else unit_text(options.unit, system=service == "system")
    params: dict[str, Any] = {
        "release": payload.release(options.python, environment.key, unit),
        "folder": payload.name,
        "files": [file.entry() for file in payload.files],
        "check": list(payload.check),
        "start": list(payload.start),
        "only_check": list(payload.only_check),
        "version": _own_version(),
        "unit_text": unit,
        **environment.params(),
    }
    notes: list[str] = []
    with session.locked(wait_s=options.wait_s, first=True):
        _recover(session, options, notes)
        wanted = session.call("prepare", params)
        params["release"] = _release_name(wanted, params["release"])
        sent = _send(session, payload, environment, params, wanted)
        session.call("environment", params)
        reporter.on_progress(printable(session.call("check", params)["said"]))
        session.call("seal", params)
        outcome = _activate(session, params["release"], options, notes)
        if outcome.healthy is not False:
            session.call("prune", {"keep": options.keep})
    return Outcome(**{**vars(outcome), "sent_bytes": sent})


def rollback(
    connection: Connection,
    release: str | None,
    options: DeployOptions | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Go to an earlier release that is still on the device, checked and watched as a new one.

    Args:
        release: its name; None for the good one that ran before the current.

    Raises:
        DeployError: when there is none, or it does not pass its check any more.
    """
    options, reporter = options or DeployOptions(), reporter or Reporter()
    session, _ = open_session(connection, None, options, reporter)
    notes: list[str] = []
    with session.locked(wait_s=options.wait_s):
        _recover(session, options, notes)
        name = release or _previous(session)
        record = session.call("record", {"release": name})
        session.call("check", {**record, "release": name})
        return _activate(session, name, options, notes, back=True)


def open_session(
    connection: Connection,
    payload: Payload | None,
    options: DeployOptions,
    reporter: Reporter,
) -> tuple[Session, Machine]:
    """Look at the device, and refuse it if it cannot take the payload.

    Raises:
        DeployError: likewise.
    """
    machine = probe(connection)
    reporter.on_step("probe")
    known = engine_architectures() if payload else frozenset({machine.architecture})
    clock_off_s = options.max_clock_off_s if payload else float("inf")
    machine.require(connection.address.text, architectures=known, max_clock_off_s=clock_off_s)
    session = Session(
        connection,
        machine.python,
        options.site.root,
        machine.kind,
        on_step=reporter.on_step,
        on_progress=reporter.on_progress,
        defaults=options.site.params(),
    )
    return session, machine


def _environment(
    machine: Machine, payload: Payload, packages: Packages, options: DeployOptions
) -> Environment:
    if options.python:
        return Environment(python=options.python)
    return packages.environment(
        machine,
        payload.extras,
        offline=options.offline,
        system_packages=options.system_packages,
    )


def _recover(session: Session, options: DeployOptions, notes: list[str]) -> None:
    found = session.call("recover", options.limits())["recovered"]
    if found:
        notes.append(printable(found))


def _release_name(wanted: Answer, asked: str) -> str:
    """What the release is called there: as asked, or with a number behind it.

    Raises:
        DeployError: for any other name.
    """
    name = wanted["release"]
    if not isinstance(name, str) or not re.fullmatch(rf"{re.escape(asked)}(-\d{{1,6}})?", name):
        raise DeployError(f"{wanted.where}: calls the release {printable(name, 80)!r}, not {asked}")
    return name


def _send(
    session: Session,
    payload: Payload,
    environment: Environment,
    params: dict[str, Any],
    wanted: Answer,
) -> int:
    """Copy what is missing there; the number of bytes.

    Raises:
        DeployError: when it asks for more than was offered: no device gets a file of this machine
            by naming it.
    """
    files = {json.dumps(file.entry()): payload.folder / file.path for file in payload.files}
    wheels = {json.dumps(file.entry()): path for file, path in environment.wheels}
    sources, size = [], 0
    for kind, offered in (("files", files), ("wheels", wheels)):
        for entry in wanted.items_of(kind):
            source = offered.pop(json.dumps(entry), None)
            if source is None:
                asked = printable(entry, 80)
                raise DeployError(f"{wanted.where}: asks for a file that is not offered: {asked}")
            sources.append(source)
            size += int(entry[2])
    if sources:
        session.on_progress(f"copying {size / 1e6:.1f} MB in {len(sources)} files")
        missing = {"files": wanted["files"], "wheels": wanted["wheels"]}
        session.call("receive", {**params, **missing}, _blocks(sources))
    return size


def _blocks(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _activate(
    session: Session,
    release: str,
    options: DeployOptions,
    notes: list[str],
    *,
    back: bool = False,
) -> Outcome:
    done = session.call("activate", {"release": release, "back": back, **options.limits()})
    if no_service := done["no_service"]:
        notes.append(f"{printable(no_service)}: start it yourself, and again after each deploy")
    if done.text("user") == "root":
        notes.append("it runs as root there; deploy as a user who has no more than the cameras")
    if done.get("lingers") is False:
        user = printable(done["user"])
        notes.append(
            f"it starts when {user} logs in; to start with the device: sudo loginctl "
            f"enable-linger {user} there"
        )
    if done.get("limited") is False:
        notes.append(
            "its --memory is not kept there: the kernel's memory controller is off or not for this "
            "service; try --service system, or on a Raspberry Pi cgroup_enable=memory in "
            "/boot/firmware/cmdline.txt"
        )
    healthy = done["healthy"]
    healthy = healthy if healthy is None else healthy is True
    return Outcome(
        release=release,
        healthy=healthy,
        reason=done.text("reason"),
        runs=(done.text("back_to") or None) if healthy is False else release,
        notes=tuple(notes),
        command=printable(done.get("command", ""), 1000),
    )


def _previous(session: Session) -> str:
    for entry in session.call("releases").objects("releases"):
        if entry["previous"]:
            return entry.text("release")
    where = session.connection.address.text
    raise DeployError(
        f"{where}: nothing healthy ran before what runs; edgeproof releases {where} lists what it "
        "holds, and rollback takes any of them by its name"
    )


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    with contextlib.suppress(PackageNotFoundError):
        return version("edgeproof")
    return ""
