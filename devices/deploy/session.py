"""Steps on a device: their source goes along with each, so that nothing must be there before."""

from __future__ import annotations

import contextlib
import getpass
import importlib.resources
import json
import marshal
import platform
import shlex
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import MAGIC_NUMBER
from typing import Any

from devices.deploy.answers import Answer, read_answer
from devices.deploy.connection import Connection, end
from devices.deploy.errors import ConnectionFailed, DeployError
from devices.deploy.remote.main import MARK
from devices.deploy.text import printable

_PACKAGE = "devices.deploy.remote"
_BEAT_S = 5.0

# No quotation marks inside: it goes through whatever shell the user has there.
_BOOTSTRAP = "import sys; b = sys.stdin.buffer; exec(b.read(int(b.readline())))"
# What follows the loader: the modules, compiled already where the device's Python is of this one's
# kind; else each is compiled there when it is imported, which is a fifth of a step's time.
_LOADER = """
import importlib.machinery, UNPACK, sys, zlib
class Sent:
    modules = UNPACK.loads(zlib.decompress(b.read(BYTES)))
    def find_spec(self, name, path=None, target=None):
        if name in self.modules:
            package = self.modules[name] is None
            return importlib.machinery.ModuleSpec(name, self, is_package=package)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        code = self.modules[module.__name__] or ""
        if isinstance(code, str):
            code = compile(code, module.__name__, "exec")
        exec(code, module.__dict__)
sys.meta_path.insert(0, Sent())
from devices.deploy.remote.main import main
main()
"""


@lru_cache(maxsize=1)
def sources() -> dict[str, str | None]:
    """The modules of `remote`, by their names; None for a package."""
    found: dict[str, str | None] = {"devices": None, "devices.deploy": None, _PACKAGE: None}
    for file in importlib.resources.files(_PACKAGE).iterdir():
        stem, _, suffix = file.name.partition(".")
        if suffix == "py" and stem != "__init__":
            found[f"{_PACKAGE}.{stem}"] = file.read_text(encoding="utf-8")
    return found


@lru_cache(maxsize=2)
def program(kind: str) -> bytes:
    """What a step is sent: a line with the loader's length, the loader, and the modules.

    Args:
        kind: of the Python that runs it; compiled code is for one kind only.
    """
    return packed(sources(), ready=kind == MAGIC_NUMBER.hex())


def packed(modules: dict[str, str | None], *, ready: bool) -> bytes:
    """Those modules with their loader, compiled or as text."""
    if ready:
        compiled = {
            name: text and compile(text, name, "exec", optimize=2) for name, text in modules.items()
        }
        blob = zlib.compress(marshal.dumps(compiled))
    else:
        blob = zlib.compress(json.dumps(modules).encode())
    loader = _LOADER.replace("UNPACK", "marshal" if ready else "json")
    loader = loader.replace("BYTES", str(len(blob)))
    return f"{len(loader)}\n{loader}".encode() + blob


@dataclass
class Session:
    """Runs steps in one place of one device.

    Attributes:
        python: the device's Python that runs the steps.
        root: folder of the service there.
        kind: of that Python, as `Machine.kind`.
        on_step: told of each step that was done.
        on_progress: told what a step is at, in words.
    """

    connection: Connection
    python: str
    root: str
    kind: str = ""
    on_step: Callable[[str], None] = lambda name: None
    on_progress: Callable[[str], None] = lambda text: None
    defaults: dict[str, Any] = field(default_factory=dict)
    _token: str = ""

    def call(
        self, step: str, params: dict[str, Any] | None = None, blocks: Iterable[bytes] = ()
    ) -> Answer:
        """Run one step.

        Args:
            blocks: what it reads after its parameters.

        Raises:
            DeployError: what the step says is wrong.
            ConnectionFailed: when the connection ended before its answer.
        """
        answers: list[Answer] = []

        def take(line: str) -> None:
            answer = self._answer(line)
            if "progress" in answer:
                self.on_progress(printable(answer["progress"]))
            elif answer:
                answers[:] = [answer]  # the last one counts, however many come

        told = self._spoken(step, params or {}, blocks)
        err = self.connection.converse(self._command(), told, take)
        done = self._require(answers, err)
        self.on_step(step)
        return done

    def follow(self, step: str, params: dict[str, Any], on_text: Callable[[str], None]) -> None:
        """Run a step whose output is for people; each line goes to `on_text`."""
        answers: list[Answer] = []

        def take(line: str) -> None:
            if line.startswith(MARK):
                answers[:] = [self._answer(line)]
            else:
                on_text(line)

        err = self.connection.converse(self._command(), self._spoken(step, params, ()), take)
        self._require(answers, err)

    @contextlib.contextmanager
    def locked(self, *, wait_s: float = 0.0, first: bool = False) -> Iterator[None]:
        """Hold the device's lock; another deploy is told so.

        Args:
            wait_s: how long to wait for another that is under way.
            first: whether it may be the first that comes there; else nothing is made.

        Raises:
            DeployError: when another holds it.
        """
        process, self._token = self._take_lock(wait_s, first)
        beats = threading.Event()
        thread = threading.Thread(target=_beat, args=(process, beats), daemon=True)
        thread.start()
        try:
            yield
        finally:
            beats.set()
            thread.join()
            with contextlib.suppress(OSError):
                assert process.stdin
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            end(process)
            self._token = ""

    def _take_lock(self, wait_s: float, first: bool) -> tuple[subprocess.Popen[bytes], str]:
        until_s = time.monotonic() + wait_s
        while True:
            process = self.connection.start(self._command())
            try:
                return process, self._lock_answer(process, first)
            except ConnectionFailed:
                end(process)
                raise
            except DeployError:
                end(process)
                if time.monotonic() >= until_s:
                    raise
                self.on_progress("another deploy is under way; waiting for it")
                time.sleep(min(1.0, max(0.0, until_s - time.monotonic())))

    def _lock_answer(self, process: subprocess.Popen[bytes], first: bool) -> str:
        assert process.stdin and process.stdout and process.stderr
        with contextlib.suppress(BrokenPipeError):
            for block in self._spoken("hold", {"who": _who(), "first": first}, ()):
                process.stdin.write(block)
            process.stdin.flush()
        while line := process.stdout.readline(1 << 20):
            if answer := self._answer(line.decode("utf-8", errors="replace")):
                if "token" in answer:
                    self.on_step("lock")
                    return str(answer["token"])
                self._require([answer])
        raise self.connection.failure(process.stderr.read(1 << 16).decode(errors="replace"))

    def _command(self) -> str:
        return f"exec {shlex.quote(self.python)} -IS -c '{_BOOTSTRAP}'"

    def _spoken(
        self, step: str, params: dict[str, Any], blocks: Iterable[bytes]
    ) -> Iterator[bytes]:
        told = {**self.defaults, "root": self.root, "token": self._token, "step": step, **params}
        yield program(self.kind) + json.dumps(told).encode() + b"\n"
        yield from blocks

    def _answer(self, line: str) -> Answer:
        """A line of ours, or an empty answer for one that is not."""
        if not line.startswith(MARK):
            return Answer()
        return read_answer(line.removeprefix(MARK), self.connection.address.text)

    def _require(self, answers: list[Answer], err: str = "") -> Answer:
        where = self.connection.address.text
        last = answers[-1] if answers else Answer()
        if "error" in last:
            raise DeployError(f"{where}: {printable(last['error'], 500)}")
        if "done" not in last:
            why = f" ({printable(err.strip().splitlines()[-1])})" if err.strip() else ""
            raise ConnectionFailed(
                f"{where}: a step ended there without an answer{why}; deploy again, or look with "
                f"edgeproof status {where}"
            )
        done = last["done"]
        if not isinstance(done, Answer):
            raise DeployError(f"{where}: answers what is no answer to that step")
        return done


def _beat(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    while not stop.wait(_BEAT_S):
        with contextlib.suppress(OSError, ValueError):
            assert process.stdin
            process.stdin.write(b"\n")
            process.stdin.flush()


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without such a user
        user = "somebody"
    return f"{user}@{platform.node()}"
