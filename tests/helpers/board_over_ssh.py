"""A board at the end of a real SSH connection: this machine's sshd on loopback, with another home.

sshd runs as an ordinary user (as the one who runs the tests, unless that is root), on a port and
with keys of its own. The board's programs are this machine's, but for those that a test puts into
`bin`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import ordinary_user

REPOSITORY = Path(__file__).parents[2]
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
HELPERS = Path(__file__).parent

# The stand-in for systemd's commands: what is asked most often is answered without a Python.
SYSTEMCTL = f"""
shift
echo "$@" >>"$FAKE_SYSTEMD/calls"
case "$1 $2" in
"show --"*) ;;
"show "*)
    pid=$(cat "$FAKE_SYSTEMD/$2.pid" 2>/dev/null || echo 0)
    case "$3" in
    *ExecMainPID*) echo "$pid"; exit ;;
    *UnitFileState*) echo UnitFileState=enabled ;;
    esac
    read -r _ _ letter _ 2>/dev/null <"/proc/$pid/stat" || letter=X
    case "$letter" in
    [ZX]) echo "ActiveState=$([ "$pid" = 0 ] && echo inactive || echo failed)"
          printf 'SubState=dead\\nMainPID=0\\nNRestarts=0\\n' ;;
    *) printf 'ActiveState=active\\nSubState=running\\nMainPID=%s\\nNRestarts=0\\n' "$pid" ;;
    esac ;;
"restart "* | "stop "*) exec {sys.executable} -IS {HELPERS}/fake_systemctl.py "$@" ;;
esac
"""


class BoardOverSsh:
    """One sshd with its home folder.

    Attributes:
        home: the board's home folder.
        bin: first on its PATH.
        config: what `--ssh-config` takes; the board is called by its name there.
    """

    def __init__(
        self, folder: Path, *, systemd: bool = True, name: str = "board", home: str = "home"
    ) -> None:
        self.name = name
        self.folder, self.home, self.bin = folder, folder / home, folder / "bin"
        self.config = folder / "ssh_config"
        self.systemd_folder = folder / "systemd"
        for each in (self.home, self.bin, self.systemd_folder):
            each.mkdir(parents=True)
        folder.chmod(0o700)
        self.path = f"{self.bin}:/usr/bin:/bin"
        self.environment: dict[str, str] = {}
        self._sshd: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.make_key("host_key")
        self.make_key("user_key")
        self._known_key = (folder / "host_key.pub").read_text()
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        if systemd:
            self.program("systemctl", SYSTEMCTL)
            # ... and its journal: what the service wrote, whichever way it is asked for.
            self.program("journalctl", f"tail -n 1 {self.systemd_folder}/*.service.log")

    @property
    def root(self) -> Path:
        """Where edgeproof lies on the board."""
        return self.home / ".local/share/edgeproof/edgeproof"

    @property
    def current(self) -> str | None:
        link = self.root / "current"
        return link.readlink().name if link.is_symlink() else None

    @property
    def releases(self) -> list[str]:
        return sorted(p.name for p in (self.root / "releases").iterdir() if p.name[0] != ".")

    def make_key(self, name: str) -> None:
        for old in self.folder.glob(f"{name}*"):
            old.unlink()
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def forget_host(self) -> None:
        """Its host key is not known here any more."""
        self._known_key = ""
        self._write_config()

    def program(self, name: str, shell: str) -> None:
        """Put a program of that name onto the board's PATH."""
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{shell}\n")
        file.chmod(0o755)

    def start(self) -> None:
        """Start sshd; again after changing `path`, `environment` or anything in its home."""
        self.stop()
        for _ in range(5):
            self.port = self.port or _free_port()
            if self._listens():
                return
            self.port = 0  # another program's by now
        raise AssertionError((self.folder / "sshd.log").read_text())

    def run(self, shell: str) -> str:
        """What a command says there."""
        done = subprocess.run(
            ["ssh", "-F", self.config, self.name, shell], capture_output=True, text=True, check=True
        )
        return done.stdout

    def _listens(self) -> bool:
        """Start sshd, and wait for its word: a port that answers may be another program's."""
        self._write_config()
        if os.getuid() == 0 and not ordinary_user.is_other():
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd, when root starts it, insists
        ordinary_user.give(self.folder)
        log = self.folder / "sshd.log"
        log.unlink(missing_ok=True)
        assert SSHD
        what = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with log.open("ab") as err:
            self._sshd = subprocess.Popen(
                ordinary_user.command(self.folder, self.home, what),
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            said = log.read_text()
            if "Server listening" in said:
                return True
            if self._sshd.poll() is not None:
                if "Address already in use" in said:
                    return False
                break
            time.sleep(0.01)
        raise AssertionError(f"sshd does not come up: {log.read_text()}")

    def _write_config(self) -> None:
        """Of sshd, and of the ssh that goes there."""
        variables: Mapping[str, str] = {
            "HOME": str(self.home),
            "PATH": self.path,
            "PYTHONPATH": str(REPOSITORY),
            "FAKE_SYSTEMD": str(self.systemd_folder),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_STATE_HOME": str(self.home / ".state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            **self.environment,
        }
        given = " ".join(f'"{name}={_escaped(value)}"' for name, value in variables.items())
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            # The default costs ten times the processor's time, which tests have no use for.
            f"KexAlgorithms curve25519-sha256\n"
            f"SetEnv {given}\nMaxStartups 100\nMaxSessions 50\n"
        )
        (self.folder / "known_hosts").write_text(
            self._known_key and f"[127.0.0.1]:{self.port} {self._known_key}"
        )
        self.config.write_text(
            f"Host {self.name}\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"  User {ordinary_user.name()}\n"
            f"  IdentityFile {self.folder}/user_key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
            # What the user's own configuration may say must not matter.
            "  StrictHostKeyChecking no\n"
        )

    def stop(self) -> None:
        """No new connections; those that are there stay."""
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait()
            self._sshd = None

    def cut(self) -> None:
        """End every connection, as when the cable is pulled, and take no new one."""
        assert self._sshd
        sessions = children(self._sshd.pid)
        self.stop()
        for pid in sessions:
            _kill(pid)

    def end(self) -> None:
        """The end of the test: nothing of it still runs."""
        if self._sshd is not None:
            self.cut()
        for file in self.systemd_folder.glob("*.pid"):
            _kill(int(file.read_text()))

    def service_pid(self) -> int:
        return int((self.systemd_folder / "edgeproof.service.pid").read_text())

    def served_release(self) -> str:
        """Of which release the running service is, by its command line."""
        line = Path(f"/proc/{self.service_pid()}/cmdline").read_bytes().decode()
        return line.partition(f"{self.root}/releases/")[2].partition("/")[0]


def _escaped(value: str) -> str:
    """As sshd's configuration has it between quotation marks."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def children(pid: int) -> list[int]:
    """Processes whose parent, or parent's parent, is that one."""
    of: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            of.setdefault(parent, []).append(int(entry.name))
    first = of.get(pid, [])
    # sshd's processes only: what they started is on its own then, as after a cut.
    return [p for p in [*first, *(q for p in first for q in of.get(p, []))] if _is_sshd(p)]


def _is_sshd(pid: int) -> bool:
    try:
        return "sshd" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
