"""A board that a real systemd has booted, on this machine's files, in namespaces of its own.

Its /etc and /run are its own, and it knows no units but those below: what it writes and starts does
not concern the machine. It takes root. The board's owner is an ordinary user; sshd is a service of
that user's, and so is the user's own service manager.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ordinary_user
from board_over_ssh import REPOSITORY, SSHD, BoardOverSsh

SYSTEMD = Path("/lib/systemd/systemd")
BUS = shutil.which("dbus-daemon")
# Folders of this machine's that it finds empty: no unit of the machine's is started twice.
_EMPTY = ("system", "user", "system-generators", "user-generators")

_OWN = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup"]
# Process 1 sees the root of its own control groups only once these are mounted anew.
_BOOT = """
mount -t proc proc /proc
umount --recursive --lazy /sys/fs/cgroup
if [ "$1" = unified ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    mkdir /sys/fs/cgroup/memory
    mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory || rmdir /sys/fs/cgroup/memory
fi
mkdir etc && mount -t tmpfs tmpfs etc && mkdir etc/upper etc/work
mount -t overlay -o "lowerdir=/etc,upperdir=$PWD/etc/upper,workdir=$PWD/etc/work" overlay /etc
rm -rf /etc/systemd/system /etc/systemd/user /etc/sudoers.d
mkdir -m 755 -p /etc/systemd/system /etc/systemd/system.conf.d /etc/sudoers.d
mount -t tmpfs -o mode=755 tmpfs /run
# The secret with which credentials are sealed is its own, too.
mkdir -m 755 secrets && mount --bind secrets /var/lib/systemd
# Any system has had a service with mounts of its own by the time that a user logs in.
mkdir -p /run/systemd && mkdir -m 700 /run/systemd/unit-root
"""

_TARGETS = {
    "system": ("sysinit", "basic", "multi-user", "shutdown", "sockets", "timers", "paths"),
    "user": ("basic", "default", "shutdown", "sockets", "timers", "paths"),
}


class BootedBoard(BoardOverSsh):
    """Its service manager, and that of its owner, are systemd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, systemd=False)
        self.environment = {"XDG_RUNTIME_DIR": self._runtime}
        self.log = folder / "systemd.log"
        for name in _EMPTY:
            (folder / "lib" / name).mkdir(parents=True)
        for manager, targets in _TARGETS.items():
            for target in targets:
                unit = folder / "lib" / manager / f"{target}.target"
                unit.write_text("[Unit]\nDefaultDependencies=no\n")
        self._write_units(folder / "lib" / "system")
        script = [_BOOT, *ordinary_user.account(folder, self.home)]
        script += [f"mount --bind lib/{name} /usr/lib/systemd/{name}" for name in _EMPTY]
        script += [
            f"printf '[Manager]\\nDefaultEnvironment=PYTHONPATH={REPOSITORY}\\n' "
            "> /etc/systemd/system.conf.d/board.conf",
            # Without one, sudo takes the account for a locked one.
            f"echo '{ordinary_user.name()}:*:19000:0:99999:7:::' >> /etc/shadow",
            # Who may read the journal, as a board's first user may.
            f"sed -i 's/^systemd-journal:.*:/&{ordinary_user.name()}/' /etc/group",
            'logs="/run/log/journal/$(cat /etc/machine-id)" && mkdir -p "$logs"',
            'chgrp systemd-journal "$logs" && chmod 2755 "$logs"',
            f"mkdir -p /run/user && mkdir -m 700 {self._runtime}",
            f"chown {ordinary_user.user_id()} {self._runtime}",
            # As a machine's own process 1 does, not one in a container: credentials need it.
            "mount --make-rshared /",
            f"export container=board && exec {SYSTEMD} --system --unit=multi-user.target "
            "--log-target=console --show-status=no",
        ]
        kind = "unified" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "mixed"
        ordinary_user.give(folder)
        with self.log.open("ab") as log:
            self._boot = subprocess.Popen(
                [*_OWN, "sh", "-ec", "\n".join(script), "sh", kind],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def _runtime(self) -> str:
        return f"/run/user/{ordinary_user.user_id()}"

    @property
    def _manager(self) -> str:
        """As logind calls it: the journal knows a user's units by that."""
        return f"user@{ordinary_user.user_id()}.service"

    def _write_units(self, folder: Path) -> None:
        user = f"[Service]\nUser={ordinary_user.name()}\n"
        (folder / "sshd.service").write_text(
            f"{user}ExecStart={SSHD} -D -e -f {self.folder}/sshd_config\n"
            f"StandardError=append:{self.folder}/sshd.log\n"
        )
        (folder / self._manager).write_text(
            f"{user}Type=notify\nDelegate=yes\nSlice=user-{ordinary_user.user_id()}.slice\n"
            f"ExecStart={SYSTEMD} --user\n"
            f"Environment=HOME={self.home} XDG_RUNTIME_DIR={self._runtime}\n"
        )

        (folder / "journal.service").write_text(
            f"[Service]\nType=notify\nExecStart={SYSTEMD}-journald\n"
        )
        # Through it, who is not root asks the system's systemd how a service does.
        if BUS:
            (folder / "dbus.socket").write_text(
                "[Socket]\nListenStream=/run/dbus/system_bus_socket\n"
            )
            (folder / "dbus.service").write_text(
                f"[Service]\nType=notify\nExecStart={BUS} --system --address=systemd: --nofork "
                "--nopidfile\n"
            )

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the board's root."""
        first = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
        if not first:
            return subprocess.CompletedProcess(command, 1, "", "not there")
        return subprocess.run(
            ["nsenter", "--target", first[0], "--mount", "--pid", "--cgroup", *command],
            capture_output=True,
            text=True,
            check=False,
        )

    def as_owner(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the board's owner."""
        privileges = ordinary_user.privileges().split()
        variables = [f"HOME={self.home}", f"XDG_RUNTIME_DIR={self._runtime}"]
        return self.inside("setpriv", *privileges, "env", *variables, *command)

    def systemctl(self, *arguments: str, user: bool) -> str:
        if user:
            return self.as_owner("systemctl", "--user", *arguments).stdout.strip()
        return self.inside("systemctl", *arguments).stdout.strip()

    def limits_memory(self) -> bool:
        """Whether its kernel lets systemd limit the memory of the system's services."""
        one, other = "/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/memory/tasks"
        return self.inside("sh", "-c", f"grep -qsw memory {one} || [ -e {other} ]").returncode == 0

    def boots(self) -> bool:
        """Whether it has come up."""
        wanted = ["multi-user.target", "journal.service", self._manager]
        wanted += ["dbus.socket", "dbus.service"] if BUS else []
        until = time.monotonic() + 20
        while time.monotonic() < until and self._boot.poll() is None:
            if all(self.inside("systemctl", "start", unit).returncode == 0 for unit in wanted):
                return True
            time.sleep(0.05)
        return False

    def may(self, rules: str) -> None:
        """Let its owner do as root what these lines of sudoers say."""
        text = shlex.quote(f"Defaults !syslog\n{rules}\n")
        done = self.inside("sh", "-c", f"umask 227; printf '%s' {text} > /etc/sudoers.d/board")
        assert done.returncode == 0, done.stderr

    def _listens(self) -> bool:
        self._write_config()
        ordinary_user.give(self.folder)
        log = self.folder / "sshd.log"
        log.unlink(missing_ok=True)
        done = self.inside("systemctl", "restart", "sshd")
        assert done.returncode == 0, done.stderr
        until = time.monotonic() + 20
        while time.monotonic() < until:
            said = log.read_text() if log.exists() else ""
            if "Server listening" in said or "Address already in use" in said:
                return "Server listening" in said
            time.sleep(0.01)
        raise AssertionError(f"sshd does not come up: {self.log.read_text()}")

    def stop(self) -> None:
        self.inside("systemctl", "stop", "sshd")

    def end(self) -> None:
        """Its process 1 goes, and with it all that it started."""
        self._boot.kill()
        self._boot.wait()


def why_not() -> str:
    """Why there can be no such board here; empty if there can."""
    if not SSHD or not shutil.which("ssh"):
        return "OpenSSH's sshd and ssh are absent (apt install openssh-server)"
    if os.getuid() or not SYSTEMD.exists() or not ordinary_user.is_other():
        return "needs root and systemd's files, to boot one beside the machine's own init"
    if not shutil.which("nsenter") or sys.platform != "linux":
        return "needs nsenter"
    return ""
