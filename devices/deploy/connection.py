"""One connection to a device, through the system's OpenSSH with the user's keys and config."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from devices.deploy.errors import ConnectionFailed, DeployError
from devices.deploy.text import printable

if TYPE_CHECKING:
    from typing_extensions import Self

CONNECT_S = 15
_ALIVE_S = 5
# What a device says to one step; more is no answer of ours.
_MAX_LINE_BYTES = 4 << 20
# What a login shell may greet with, in lines, and how long it may take to.
_MAX_GREETING_LINES = 10_000
_GREETING_S = 60
# Of what a step complains about: its last words say why.
_MAX_COMPLAINT_BYTES = 1 << 16

# ssh's words -> ours. The first that is found counts.
_WHY = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key has changed: either it was set up "
     "anew, or this is another machine. Ask whoever looks after it; then {forget}"),
    ("Host key verification failed", "its host key is not known here; connect once with ssh "
     "{address} and compare the key that it shows"),
    ("Permission denied", "it lets nobody in with your keys; try ssh {address}"),
    ("Too many authentication failures", "it lets nobody in with your keys; try ssh {address}"),
    ("Could not resolve hostname", "there is no host of that name"),
    ("Connection refused", "it answers, but no SSH server does; is SSH switched on there?"),
    ("timed out", "does not answer; is it switched on, and in this network?"),
    ("not responding", "does not answer any more; was it switched off, or is its network gone?"),
    ("No route to host", "cannot be reached from here; is it switched on, and in this network?"),
    ("Network is unreachable", "cannot be reached: this machine has no network"),
)  # fmt: skip


@dataclass(frozen=True)
class Address:
    """A device's address, as `ssh` takes it: `host`, `user@host`, `ssh://user@host:port`.

    Raises:
        DeployError: for what ssh would take for an option, or cannot be an address.
    """

    text: str

    def __post_init__(self) -> None:
        known = re.fullmatch(r"[A-Za-z0-9_.@:%/\[\]-]+", self.text)
        # A host that begins with a dash would be an option of what ssh starts, as in ProxyCommand.
        if not known or self.text[0] == "@" or re.search(r"(^|[@/])(-|$)", self.text.rstrip("/")):
            raise DeployError(
                f"{self.text!r}: is no address; USER@HOST, or a name of your SSH config"
            )


@dataclass(frozen=True)
class SshOptions:
    """How ssh is called.

    Attributes:
        config: another configuration file than ~/.ssh/config.
        ask: whether ssh may ask for a password or an unknown host key on the terminal.
    """

    config: Path | None = None
    ask: bool = False


class Connection:
    """Shared by all steps: the user's authentication happens once.

    Host keys are always checked, whatever the configuration says. The connection ends with this
    process, also when it is killed: its remote side waits for the end of our pipe.
    """

    def __init__(self, address: Address, options: SshOptions | None = None) -> None:
        self.address = address
        self._options = options or SshOptions()
        self._folder = Path()
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect.

        Raises:
            ConnectionFailed: when that does not work, in one line.
            DeployError: when there is no ssh on this machine.
        """
        if not shutil.which("ssh"):
            raise DeployError("deploying needs OpenSSH: install openssh-client on this machine.")
        # Short: a socket's path has about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ep-"))
        try:
            with (self._folder / "err").open("wb") as err:
                self._master = subprocess.Popen(
                    [*self._ssh(), "-o", "ControlMaster=yes", self.address.text, "exec cat"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    start_new_session=not self._options.ask,  # Ctrl-C must not cut it
                )
            self._await_greeting(self._master)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Safe to call twice."""
        master, self._master = self._master, None
        if master is not None:
            with contextlib.suppress(OSError):
                assert master.stdin
                master.stdin.close()
            try:
                master.wait(2)
            except subprocess.TimeoutExpired:
                master.kill()
                master.wait()
            assert master.stdout
            master.stdout.close()
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command of the remote shell, with pipes to it."""
        return subprocess.Popen(
            [*self._ssh(), "-o", "ControlMaster=no", self.address.text, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def converse(
        self,
        command: str,
        blocks: Iterable[bytes],
        on_line: Callable[[str], None],
    ) -> str:
        """Run a command, send it `blocks`, hand each line of its answer over.

        Returns:
            What it wrote to standard error.

        Raises:
            ConnectionFailed: when the connection ends in between.
        """
        process = self.start(command)
        assert process.stdin and process.stdout and process.stderr
        complaints = bytearray()
        try:
            # One that ends early has said why: its answer is read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for block in blocks:
                    process.stdin.write(block)
                process.stdin.flush()
            with contextlib.suppress(OSError):
                process.stdin.close()
            for line in self._lines(process, complaints):
                on_line(line.decode("utf-8", errors="replace").rstrip("\r"))
            err = complaints.decode("utf-8", errors="replace")
            if process.wait() == 255:
                raise self.failure(err)
            return err
        finally:
            end(process)

    def failure(self, err: str) -> ConnectionFailed:
        """ssh's complaint, in one line."""
        for words, why in _WHY:
            if words in err:
                forget = self._forget() if "{forget}" in why else ""
                said = why.format(forget=forget, address=self.address.text)
                mark = "" if said.endswith("?") else "."
                return ConnectionFailed(f"{self.address.text}: {said}{mark}")
        lines = [line.strip() for line in err.splitlines() if line.strip()]
        said = lines[-1] if lines else "the connection was cut"
        return ConnectionFailed(f"{self.address.text}: {printable(said)}")

    def _forget(self) -> str:
        """What takes its host key away, under the name that ssh knows it by: it may be an alias."""
        config = ["-F", str(self._options.config)] if self._options.config else []
        told = subprocess.run(
            ["ssh", *config, "-G", self.address.text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        ).stdout
        found = dict(line.partition(" ")[::2] for line in told.splitlines())
        name, port = found.get("hostname", self.address.text), found.get("port", "22")
        name = found.get("hostkeyalias") or (name if port == "22" else f"[{name}]:{port}")
        file = found.get("userknownhostsfile", "").partition(" ")[0]
        usual = Path("~/.ssh/known_hosts").expanduser()
        other = ["-f", file] if file and Path(file).expanduser() != usual else []
        return printable(shlex.join(["ssh-keygen", *other, "-R", name]))

    def _await_greeting(self, master: subprocess.Popen[bytes]) -> None:
        """Once `cat` gives our line back, the way there and back is open."""
        assert master.stdin and master.stdout
        # While ssh may ask, it is the user who takes his time.
        patience = threading.Timer(_GREETING_S, master.kill)
        if not self._options.ask:
            patience.start()
        try:
            with contextlib.suppress(OSError):
                master.stdin.write(b"EDGEPROOF\n")
                master.stdin.flush()
                # What a login shell greets with comes first.
                for _ in range(_MAX_GREETING_LINES):
                    line = master.stdout.readline(_MAX_LINE_BYTES)
                    if line.endswith(b"EDGEPROOF\n"):
                        return
                    if not line:
                        break
                else:
                    master.kill()
            master.wait()
        finally:
            patience.cancel()
        if master.returncode == -signal.SIGKILL:
            raise ConnectionFailed(
                f"{self.address.text}: lets us in, but its login shell does not come to an end of "
                f"its greeting; try ssh {self.address.text} true"
            )
        raise self.failure((self._folder / "err").read_text(errors="replace"))

    def _lines(self, process: subprocess.Popen[bytes], complaints: bytearray) -> Iterator[bytes]:
        """What it writes to standard output, line by line, to its end.

        Args:
            complaints: gets the last of what it writes to standard error: read at the same time, so
                that neither stream waits for the other.

        Raises:
            ConnectionFailed: for a line without an end.
        """
        assert process.stdout and process.stderr
        rest = b""
        with selectors.DefaultSelector() as both:
            for stream in (process.stdout, process.stderr):
                both.register(stream, selectors.EVENT_READ)
            while both.get_map():
                for key, _ in both.select():
                    block = os.read(key.fd, 1 << 16)
                    if not block:
                        both.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        complaints += block
                        del complaints[:-_MAX_COMPLAINT_BYTES]
                    else:
                        *lines, rest = (rest + block).split(b"\n")
                        yield from lines
                        if len(rest) > _MAX_LINE_BYTES:
                            raise ConnectionFailed(
                                f"{self.address.text}: sends a line that does not end."
                            )
        if rest:
            yield rest

    def _ssh(self) -> Sequence[str]:
        options = {
            "StrictHostKeyChecking": "ask" if self._options.ask else "yes",
            "BatchMode": "no" if self._options.ask else "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(_ALIVE_S),
            "ServerAliveCountMax": "3",
            "ControlPath": str(self._folder / "s"),
            "ControlPersist": "no",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "EscapeChar": "none",
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", *(["-F", str(self._options.config)] if self._options.config else []), *given]


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a local ssh is gone; the remote side finds its pipe closed."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        if process.poll() is None:
            process.kill()
    streams: tuple[IO[bytes] | None, ...] = (process.stdin, process.stdout, process.stderr)
    for stream in streams:
        with contextlib.suppress(OSError):
            if stream:
                stream.close()
    process.wait()


def await_exit(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ended by itself in that time."""
    until_s = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.02)
    return process.poll() is not None
