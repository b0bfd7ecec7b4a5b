"""A real board at the end of a real SSH connection on loopback, and something light to deploy."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from board_over_ssh import SSHD, BoardOverSsh

from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.deploying import DeployOptions, Outcome, Reporter, Site, deploy
from devices.deploy.packages import Packages
from devices.deploy.payload import Payload, PayloadFile

HELPERS = Path(__file__).parents[2] / "helpers"


@contextmanager
def making_boards() -> Iterator[Callable[..., BoardOverSsh]]:
    if not SSHD or not shutil.which("ssh"):
        pytest.skip("OpenSSH's sshd and ssh are absent (apt install openssh-server)")
    made: list[BoardOverSsh] = []
    # Not below pytest's folder: a control socket's path must be short, and a key's folder private.
    with tempfile.TemporaryDirectory(prefix="board-") as folder:

        def make(**options: Any) -> BoardOverSsh:
            board = BoardOverSsh(Path(folder) / str(len(made)), **options)
            made.append(board)
            board.start()
            return board

        yield make
        for board in made:
            board.end()


@pytest.fixture
def boards() -> Iterator[Callable[..., BoardOverSsh]]:
    """Makes boards that run: `boards(systemd=True)`."""
    with making_boards() as make:
        yield make


@pytest.fixture(scope="module")
def served(payload: Callable[..., Payload], put: Callable[..., Outcome]) -> Iterator[BoardOverSsh]:
    """One board for many tests, with a good release running: they leave it as it is."""
    with making_boards() as make:
        board = make()
        put(board, payload(number=100))
        yield board


@pytest.fixture
def device(boards: Callable[..., BoardOverSsh]) -> BoardOverSsh:
    """One board, running."""
    return boards()


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Payload]:
    """Makes something to deploy that does as its mode says: `payload("healthy", number=1)`."""

    base = tmp_path_factory.mktemp("payloads")

    def make(mode: str = "healthy", number: int = 1, check: str = "pass") -> Payload:
        folder = base / f"{mode}-{number}"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        shutil.copy(HELPERS / "served.py", folder / "served.py")
        (folder / "mode").write_text(mode)
        (folder / "models" / "same.bin").write_bytes(b"the same in all" * 1000)
        (folder / "models" / "other.bin").write_bytes(f"differs {number}".encode() * 1000)
        files = [
            PayloadFile(
                file.relative_to(folder).as_posix(),
                hashlib.sha256(file.read_bytes()).hexdigest(),
                file.stat().st_size,
            )
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        ]
        return Payload(
            name="pets.bundle",
            folder=folder,
            files=tuple(files),
            check=("-S", "-c", check, "{folder}"),
            start=("-S", "-c", _START, "{folder}", "{status}"),
        )

    return make


# The service's file is named by its folder, which only the device knows.
_START = (
    "import sys, runpy; folder, status = sys.argv[1:]; sys.argv = ['served', status]; "
    "runpy.run_path(folder + '/served.py', run_name='__main__')"
)

QUICK = DeployOptions(
    python=sys.executable, watch_s=0.2, start_s=30.0, still_s=10.0, keep=3, site=Site()
)


@pytest.fixture(scope="session")
def put(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Deploys: `put(device, payload)`; further options by name."""

    packages = Packages(tmp_path_factory.mktemp("wheels"))

    def deploy_it(
        device: BoardOverSsh,
        what: Payload,
        options: DeployOptions = QUICK,
        on_step: Callable[[str], None] = lambda name: None,
    ) -> Outcome:
        with Connection(Address("board"), SshOptions(device.config)) as connection:
            return deploy(connection, what, packages, options, Reporter(on_step=on_step))

    return deploy_it


@pytest.fixture
def quick() -> DeployOptions:
    """Options that do not make a test wait."""
    return QUICK


@pytest.fixture(scope="session")
def whole() -> Callable[[BoardOverSsh], SimpleNamespace]:
    """Demands that a board holds and runs one whole release; says which."""

    def require(board: BoardOverSsh) -> SimpleNamespace:
        import json

        current = board.current
        assert current is not None
        release = board.root / "releases" / current
        record = json.loads((release / "release.json").read_text())
        assert len(record["files"]) == 4
        for path, sha256, size in record["files"]:
            data = (release / record["folder"] / path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256), path
        assert str(release) in (release / "start").read_text()
        served = board.served_release()
        assert (board.root / "releases" / served / "release.json").is_file()
        return SimpleNamespace(current=current, served=served)

    return require
