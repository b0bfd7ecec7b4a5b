"""A deploy under a real systemd: its user manager, where root may start one beside the init.

The manager runs in a mount namespace of its own, in which it finds the machine booted by systemd.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from board_over_ssh import SSHD, BoardOverSsh

from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.deploying import DeployOptions, Outcome, deploy
from devices.deploy.packages import Packages
from edge_runtime.payload import bundle_payload

pytestmark = pytest.mark.end_to_end

SYSTEMD = Path("/lib/systemd/systemd")
REPOSITORY = Path(__file__).parents[2]
START = """
mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec "$0" --user
"""


class SystemdBoard(BoardOverSsh):
    """A board whose services a real systemd runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, systemd=False)
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        self.environment = {"XDG_RUNTIME_DIR": str(runtime)}
        self.variables = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(self.home)}
        self._manager = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", START, str(SYSTEMD)],
            env={"PATH": os.environ["PATH"], **self.variables, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def systemctl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            env={"PATH": os.environ["PATH"], **self.variables},
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def answers(self) -> bool:
        until = time.monotonic() + 15
        while time.monotonic() < until and self._manager.poll() is None:
            if self.systemctl("show", "--property=Version"):
                return True
            time.sleep(0.1)
        return False

    def end(self) -> None:
        super().end()
        self.systemctl("stop", "edgeproof")
        self._manager.terminate()
        self._manager.wait(15)


@pytest.fixture
def device() -> Iterator[SystemdBoard]:
    if not SSHD or not shutil.which("ssh"):
        pytest.skip("OpenSSH's sshd and ssh are absent (apt install openssh-server)")
    if os.getuid() or not SYSTEMD.exists() or not shutil.which("unshare"):
        pytest.skip("needs root and systemd's files, to start a user manager of its own")
    Path("/run/systemd").mkdir(exist_ok=True)
    # Not below /tmp: the service has a /tmp of its own.
    with tempfile.TemporaryDirectory(prefix="board-", dir="/opt") as folder:
        board = SystemdBoard(Path(folder) / "b")
        try:
            if not board.answers():
                pytest.skip("systemd's user manager does not start on this machine")
            # Containers and small virtual machines forbid this one; boards do not.
            drop_in = board.home / ".config/systemd/user/edgeproof.service.d"
            drop_in.mkdir(parents=True)
            (drop_in / "here.conf").write_text("[Service]\nProtectKernelTunables=false\n")
            board.start()
            yield board
        finally:
            board.end()


@pytest.fixture
def put(device: SystemdBoard, colour_bundle: Path) -> Callable[[str], Outcome]:
    def deploy_it(source: str) -> Outcome:
        options = DeployOptions(python=sys.executable, watch_s=1.0)
        with (
            bundle_payload(colour_bundle) as payload,
            Connection(Address("board"), SshOptions(device.config)) as connection,
        ):
            what = payload.with_arguments(("--source", source))
            return deploy(connection, what, Packages(device.folder), options)

    return deploy_it


def test_systemd_runs_restarts_and_takes_back(
    device: SystemdBoard, put: Callable[[str], Outcome], colour_video: Path
):
    # Where the service may read, which is not below this machine's /tmp.
    clip = Path(shutil.copy(colour_video, device.folder))
    script = clip.with_suffix(".toml")
    script.write_text(f'video = "{clip.name}"\nframes = 36000\n')
    good = put(f"replay:{script}")
    assert (good.healthy, good.runs) == (True, device.current)
    properties = "--property=ActiveState,StatusText,WatchdogUSec,ProtectSystem,NoNewPrivileges"
    shown = set(device.systemctl("show", "edgeproof", properties).splitlines())
    wanted = {"ActiveState=active", "WatchdogUSec=30s", "ProtectSystem=strict"}
    assert wanted | {"NoNewPrivileges=yes"} <= shown
    assert any(line.startswith("StatusText=colours on replay:") for line in shown)

    bad = put("/nowhere.mp4")
    assert (bad.healthy, bad.runs) == (False, good.release)
    assert bad.reason.startswith("it does not start: Job for edgeproof.service failed because")

    pid = device.systemctl("show", "edgeproof", "--property=MainPID", "--value")
    os.kill(int(pid), 9)
    until = time.monotonic() + 30
    while device.systemctl("show", "edgeproof", "--property=NRestarts", "--value") != "1":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert device.systemctl("is-active", "edgeproof") in ("active", "activating")
