"""The service on the device: systemd's, of the user or of the system; or none."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Any

from devices.deploy.remote.place import (
    Place,
    StepError,
    disk_errors,
    sync_folder,
    write_text,
)
from devices.deploy.remote.running import last_line, run

# `systemctl restart` waits until the model is loaded and the camera is open.
_RESTART_S = 180.0
_CHECK_S = 930.0
# For what changes the system's services; what only reads needs no leave.
_SUDO = ("sudo", "-n")
_WALLS = ("Private", "Protect", "ReadWritePaths", "Restrict", "UMask")
_PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "ActiveEnterTimestamp")


class Service:
    """One unit under systemd.

    Args:
        system: whether it is the system's, which takes root or a `sudo` that asks nothing.
    """

    def __init__(self, unit: str, *, system: bool) -> None:
        self.unit, self.system = unit, system
        self._runtime = f"/run/user/{os.getuid()}"
        if not system and "XDG_RUNTIME_DIR" not in os.environ and Path(self._runtime).is_dir():
            os.environ["XDG_RUNTIME_DIR"] = self._runtime

    @property
    def file(self) -> Path:
        """Where its unit file lies."""
        if self.system:
            return Path("/etc/systemd/system") / self.unit
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return config / "systemd" / "user" / self.unit

    def why_not(self) -> str:
        """Why systemd cannot run it; empty when it can."""
        if not shutil.which("systemctl"):
            return "there is no systemd"
        done = self._systemctl("show", "--property=Version")
        if not done[0]:
            return ""
        whose = "the system's" if self.system else "this user's"
        return f"systemd does not answer for {whose} services ({done[1]})"

    def install(self, unit: Path) -> None:
        """Put a release's unit in its place, and let systemd read it.

        Raises:
            StepError: when it may not.
        """
        text = read_text(unit)
        if read_text(self.file) != text:
            with disk_errors(self.file.parent):
                # The same bytes under a second name: the way back needs no room on the disk.
                if self.system or not _linked(unit, self.file):
                    self._put(text)
        self._must("daemon-reload")
        self._must("enable", self.unit)

    def retire(self) -> None:
        """Stop it, now and at the next start of the device; nothing to do where it is not.

        Raises:
            StepError: when it may not.
        """
        done = run([*self._command(), "show", self.unit, "--property=ActiveState,UnitFileState"])
        found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        if found.get("ActiveState", "inactive") != "inactive":
            self._must("stop", self.unit)
        if found.get("UnitFileState") == "enabled":
            self._must("disable", self.unit)

    def run_once(self, text: str) -> tuple[bool, str]:
        """Write a unit that ends by itself, and run it to its end.

        Returns:
            Whether it failed, and why.
        """
        if read_text(self.file) != text:
            self._put(text)
        self._must("daemon-reload")
        return self._systemctl("start", self.unit)

    def walls(self, text: str) -> bool:
        """Whether a unit's limits can be kept to here: a user's systemd takes a namespace for them.

        systemd 254 and later take one by themselves; earlier ones pass the limits over, unless they
        are told to, and then do not start the service where the kernel does not let them.
        """
        if self.system:
            return False
        # Of this type, it is waited for, also where there is no D-Bus.
        trial = ["systemd-run", "--user", "--quiet", "--collect", "--service-type=oneshot"]
        limits = [line for line in text.splitlines() if line.startswith(_WALLS)]
        limits = [line.replace("%%", "%") for line in limits]  # here it means no specifier
        with contextlib.suppress(StepError):
            done = run([*trial, *(f"--property={line}" for line in limits), "true"], timeout_s=20)
            return done.returncode == 0
        return False

    def restart(self) -> None:
        """Raises StepError when it does not come up, with what it said last."""
        failed, why = self._systemctl("restart", self.unit)
        if failed:
            said = self._how_killed() or self._last_words() or why
            raise StepError(f"it does not start: {said.rstrip('.')}")

    def state(self) -> dict[str, Any]:
        """Whether it is active, its process, how often it was restarted since."""
        done = run([*self._command(), "show", self.unit, f"--property={','.join(_PROPERTIES)}"])
        found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        return {
            "active": found.get("ActiveState", "unknown"),
            "sub": found.get("SubState", ""),
            "pid": _number(found.get("MainPID")),
            "restarts": _number(found.get("NRestarts")),
            "since": found.get("ActiveEnterTimestamp", ""),
        }

    def lingers(self) -> bool:
        """Whether a user's service runs without the user being logged in; asks for it if not."""
        if self.system or not shutil.which("loginctl"):
            return True
        user = user_name()
        shown = run(["loginctl", "show-user", user, "--property=Linger"])
        if "Linger=yes" in shown.stdout:
            return True
        return run(["loginctl", "--no-ask-password", "enable-linger", user]).returncode == 0

    def _how_killed(self) -> str:
        """The kernel's kill for memory, in words; an older one is not told from other kills."""
        asked = "--property=Result,ExecMainCode,ExecMainStatus"
        shown = run([*self._command(), "show", self.unit, asked]).stdout.splitlines()
        found = dict(line.partition("=")[::2] for line in shown)
        by_signal_9 = (found.get("ExecMainCode"), found.get("ExecMainStatus")) == ("2", "9")
        if found.get("Result") == "oom-kill" or by_signal_9:
            return "it was killed; it may need more than its --memory"
        return ""

    def _last_words(self) -> str:
        """The last line of the process that failed; empty where there is no journal of it."""
        shown = run([*self._command(), "show", self.unit, "--property=ExecMainPID", "--value"])
        pid = _number(shown.stdout.strip())
        if not pid or not shutil.which("journalctl"):
            return ""
        asked = ["--quiet", "--output=cat", "--lines=1", "--no-pager", f"_PID={pid}"]
        done = run(["journalctl", *asked])
        return done.stdout.strip()[-300:]

    def _put(self, text: str) -> None:
        if not self.system or os.getuid() == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, text)
            return
        # Beside, then renamed, as everywhere: systemd must not read half of it.
        beside = f"{self.file}.new"
        for command in (["tee", beside], ["mv", "-T", beside, str(self.file)]):
            done = run([*_SUDO, *command], told=text)
            if done.returncode:
                raise StepError(_not_granted(last_line(done)))

    def _must(self, *arguments: str) -> None:
        failed, why = self._systemctl(*arguments)
        if failed:
            raise StepError(f"systemctl {' '.join(arguments)}: {why}")

    def _systemctl(self, *arguments: str) -> tuple[bool, str]:
        sudo = _SUDO if self.system and os.getuid() and arguments[0] != "show" else ()
        timeout_s = _CHECK_S if arguments[0] == "start" else _RESTART_S
        done = run([*sudo, *self._command(), *arguments], timeout_s=timeout_s)
        # Its first line says what is wrong, its last one where to look.
        lines = (done.stderr or done.stdout).strip().splitlines()
        return done.returncode != 0, lines[0] if lines else last_line(done)

    def _command(self) -> list[str]:
        return ["systemctl"] if self.system else ["systemctl", "--user"]


def service_of(params: dict[str, Any]) -> Service | None:
    """The service that was asked for; None for none."""
    if params["service"] == "none":
        return None
    return Service(params["unit"], system=params["service"] == "system")


def other_services(params: dict[str, Any]) -> list[Service]:
    """Those of the same name that another kind of deploy may have left, and systemd runs here."""
    kinds = [kind for kind in ("user", "system") if kind != params["service"]]
    found = [Service(params["unit"], system=kind == "system") for kind in kinds]
    return [each for each in found if each.file.exists() and not each.why_not()]


def filled_unit(place: Place, params: dict[str, Any], start: Path) -> str:
    """A release's unit, with what this device is like in it; empty for no service.

    Args:
        start: the program that it runs: the release's own, so that one file says both what runs,
            and within which limits.

    Raises:
        StepError: when no unit can name the place.
    """
    service = service_of(params)
    if service is None:
        return ""
    text = str(params["unit_text"])
    for key, value in {
        "{user}": user_name(),
        "{start}": quoted(start),
        "{state}": quoted(place.state),
    }.items():
        text = text.replace(key, value)
    walls = service.walls(text.replace("{walls}", "true"))
    return text.replace("{walls}", "true" if walls else "false")


def quoted(path: Path) -> str:
    """A path as units write it.

    Raises:
        StepError: when it holds what systemd takes in no program's name.
    """
    text = str(path)
    if not text.isprintable() or set(text) & set("\"'\\"):
        raise StepError(f"{text!r}: systemd runs nothing below a folder of such a name")
    text = text.replace("%", "%%")
    return text if re.fullmatch(r"[\w./%+@:-]+", text, re.ASCII) else f'"{text}"'


def user_name() -> str:
    """Whose process this is, whatever the environment says."""
    return pwd.getpwuid(os.getuid()).pw_name


def running_release(place: Place, pid: int | None) -> str | None:
    """Of which release a process is, by its command line; None when it is none's."""
    try:
        line = Path(f"/proc/{pid or 0}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    found = re.search(re.escape(f"{place.releases}/") + r"([^/\0]+)", line)
    return found.group(1) if found else None


def _linked(there: Path, here: Path) -> bool:
    """Whether a file has a second name now, in one rename; not across file systems."""
    part = here.with_name(f".{here.name}.part")
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.hardlink_to(there)
        part.replace(here)
    except OSError:
        return False
    sync_folder(here.parent)
    return True


def _not_granted(why: str) -> str:
    return f"may not write the system's unit: {why}; grant it, or leave --service at user"


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
