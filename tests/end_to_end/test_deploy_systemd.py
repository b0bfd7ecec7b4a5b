"""A deploy under a real systemd, as the user's service and as the system's, by an ordinary user."""

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import booted_board
import ordinary_user
import pytest

from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.deploying import (
    DeployOptions,
    Outcome,
    Reporter,
    ServiceKind,
    Site,
    deploy,
    open_session,
)
from devices.deploy.errors import DeployError
from devices.deploy.packages import Packages
from devices.deploy.unit import UnitOptions
from edge_runtime.payload import bundle_payload

pytestmark = pytest.mark.end_to_end

REPOSITORY = Path(__file__).parents[2]
Put = Callable[..., Outcome]


@pytest.fixture
def device() -> Iterator[booted_board.BootedBoard]:
    if reason := booted_board.why_not():
        pytest.skip(reason)
    # Not below /tmp: the service has a /tmp of its own.
    if Path(sys.prefix).is_relative_to("/tmp"):
        pytest.skip(f"{sys.prefix}: a service with a /tmp of its own cannot see this Python")
    with tempfile.TemporaryDirectory(prefix="board-", dir="/opt") as folder:
        board = booted_board.BootedBoard(Path(folder) / "b")
        try:
            if not board.boots():
                pytest.skip(f"systemd does not come up here: {board.log.read_text()[-300:]}")
            board.start()
            yield board
        finally:
            board.end()


@pytest.fixture
def put(device: booted_board.BootedBoard, colour_bundle: Path) -> Put:
    def deploy_it(source: str, service: ServiceKind = "user", memory: str = "75%") -> Outcome:
        options = DeployOptions(
            site=Site(service=service),
            python=sys.executable,
            watch_s=1.0,
            unit=UnitOptions(memory=memory, watchdog_s=3),
        )
        with (
            bundle_payload(colour_bundle) as payload,
            Connection(Address("board"), SshOptions(device.config)) as connection,
        ):
            what = payload.with_arguments(("--source", source))
            return deploy(connection, what, Packages(device.folder), options)

    return deploy_it


@pytest.fixture
def camera(device: booted_board.BootedBoard, colour_video: Path) -> str:
    """Plays for an hour, from where the service may read: not below this machine's /tmp."""
    clip = Path(shutil.copy(colour_video, device.folder))
    script = clip.with_suffix(".toml")
    script.write_text(f'video = "{clip.name}"\nframes = 36000\n')
    ordinary_user.give(device.folder)
    return f"replay:{script}"


def sudo_rules() -> str:
    """As the documentation has them, for this board's owner."""
    text = (REPOSITORY / "docs/deploy.md").read_text(encoding="utf-8")
    found = re.search(r"```sudoers\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1].replace("pi ALL", f"{ordinary_user.name()} ALL")


@pytest.mark.parametrize("service", ["user", "system"])
def test_systemd_runs_restarts_and_takes_back(
    service: ServiceKind, device: booted_board.BootedBoard, put: Put, camera: str
):
    user = service == "user"
    if not user:
        if not shutil.which("sudo") or not booted_board.BUS:
            pytest.skip("sudo or dbus-daemon is absent (apt install sudo dbus)")
        with pytest.raises(DeployError, match="may not write the system's unit: sudo: a password"):
            put(camera, service)
        assert device.current is None
        device.may(sudo_rules())
    good = put(camera, service)
    assert (good.healthy, good.runs) == (True, device.current), good.reason

    names = "ActiveState,StatusText,WatchdogUSec,ProtectSystem,NoNewPrivileges,MainPID,User"
    shown = dict(
        line.partition("=")[::2]
        for line in device.systemctl("show", "edgeproof", f"--property={names}", user=user).split(
            "\n"
        )
    )
    wanted = {"ActiveState": "active", "WatchdogUSec": "3s", "ProtectSystem": "strict"}
    assert wanted.items() | {("NoNewPrivileges", "yes")} <= shown.items()
    assert shown["StatusText"].startswith("colours on replay:")
    # Not only asked for: the kernel keeps to it. No root, nothing to write to but one folder.
    pid = shown["MainPID"]
    status = device.inside("cat", f"/proc/{pid}/status").stdout
    assert re.search(rf"^Uid:\s+{ordinary_user.user_id()}\s", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert user or re.search(r"^CapBnd:\s+0+$", status, re.M)
    mounts = device.inside("cat", f"/proc/{pid}/mountinfo").stdout
    assert re.search(r"^\S+ \S+ \S+ / / ro,", mounts, re.M), mounts
    assert re.search(rf" {re.escape(str(device.root / 'state'))} rw,", mounts), mounts

    bad = put("/nowhere.mp4", service)
    assert (bad.healthy, bad.runs) == (False, good.release)
    assert bad.reason.startswith("it does not start: edgeproof: /nowhere.mp4: ")
    with Connection(Address("board"), SshOptions(device.config)) as connection:
        options = DeployOptions(site=Site(service=service))
        session, _ = open_session(connection, None, options, Reporter())
        logged: list[str] = []
        session.follow("logs", {"lines": 200, "follow": False}, logged.append)
    assert any("edgeproof: /nowhere.mp4: " in line for line in logged)
    assert any("fps" in line for line in logged), logged

    # It hangs: its signs of life stop, and it is started again.
    pid = device.systemctl("show", "edgeproof", "--property=MainPID", "--value", user=user)
    device.inside("kill", "-STOP" if user else "-KILL", pid)
    until = time.monotonic() + 40
    while device.systemctl("show", "edgeproof", "-p", "NRestarts", "--value", user=user) != "1":
        assert time.monotonic() < until
        time.sleep(0.2)
    active = device.systemctl("is-active", "edgeproof", user=user)
    assert active in ("active", "activating")


def test_a_release_that_outgrows_its_memory_gives_way_with_its_limit(
    device: booted_board.BootedBoard, put: Put, camera: str
):
    if not device.limits_memory():
        pytest.skip("no limits of memory here: the kernel's controller is another's")
    if not shutil.which("sudo") or not booted_board.BUS:
        pytest.skip("sudo or dbus-daemon is absent (apt install sudo dbus)")
    device.may(sudo_rules())

    def limit() -> str:
        return device.systemctl("show", "edgeproof", "-p", "MemoryMax", "--value", user=False)

    good = put(camera, "system")
    assert good.healthy, good.reason
    assert not any("--memory is not kept" in note for note in good.notes)
    before = limit()
    bad = put(camera, "system", "24M")
    assert (bad.healthy, bad.runs, device.current) == (False, good.release, good.release)
    assert limit() == before != str(24 << 20)
    assert bad.reason == "it does not start: it was killed; it may need more than its --memory"
    until = time.monotonic() + 60
    while device.systemctl("is-active", "edgeproof", user=False) != "active":
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_key_that_only_systemd_gives(
    device: booted_board.BootedBoard, colour_bundle: Path, camera: str, tmp_path: Path
):
    """The key of an encrypted bundle is sealed to the board; no login of the owner can read it."""
    pyrage = pytest.importorskip("pyrage")
    from edge_runtime.trust.encryption import encrypt_bundle

    if not shutil.which("sudo") or not shutil.which("systemd-creds") or not booted_board.BUS:
        pytest.skip("sudo, dbus-daemon or systemd-creds is absent (apt install sudo dbus systemd)")
    key = pyrage.x25519.Identity.generate()
    file = tmp_path / "colours.bundle.age"
    encrypt_bundle(colour_bundle, file, [str(key.to_public())])
    options = DeployOptions(site=Site(service="system"), python=sys.executable, watch_s=1.0)

    def put() -> Outcome:
        with (
            bundle_payload(file) as payload,
            Connection(Address("board"), SshOptions(device.config)) as connection,
        ):
            what = payload.with_arguments(("--source", camera))
            return deploy(connection, what, Packages(device.folder), options)

    device.may(sudo_rules())
    with pytest.raises(DeployError, match="is encrypted, and this device has no key: age-keygen"):
        put()
    # As the documentation has it.
    drop_in = "/etc/systemd/system/edgeproof.service.d"
    sealed = "/etc/edgeproof/identity.cred"
    done = device.inside(
        "sh",
        "-ec",
        f"mkdir -p /etc/edgeproof {drop_in}; "
        f"printf %s {key} | systemd-creds encrypt --name=edgeproof-identity - {sealed}; "
        f"printf '[Service]\\nLoadCredentialEncrypted=edgeproof-identity:{sealed}\\n' "
        f"> {drop_in}/key.conf",
    )
    assert done.returncode == 0, done.stderr
    outcome = put()
    assert outcome.healthy is True, outcome.reason
    assert "colours on replay" in device.systemctl(
        "show", "edgeproof", "--property=StatusText", user=False
    )
    assert str(key) not in device.as_owner("sh", "-c", "grep -rs AGE-SECRET ~ || true").stdout
