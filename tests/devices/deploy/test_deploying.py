"""Deploying to a real sshd: what is copied, what runs, and what a device that fails does."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.deploy.connection import Address, Connection, SshOptions
from devices.deploy.deploying import (
    DeployOptions,
    Outcome,
    Reporter,
    Site,
    open_session,
    rollback,
)
from devices.deploy.errors import ConnectionFailed, DeployError
from devices.deploy.unit import UnitOptions

STEPS = ["probe", "lock", "recover", "prepare", "receive", "environment", "check", "seal"]
STEPS += ["activate", "prune"]


def test_a_release_runs_and_the_next_takes_its_place_with_what_differs(device, payload, put, whole):
    steps: list[str] = []
    first = put(device, payload(number=1), on_step=steps.append)
    assert steps == STEPS
    assert (first.healthy, first.runs) == (True, first.release)
    assert whole(device).served == first.release
    old = device.service_pid()

    second = put(device, payload(number=2))
    found = whole(device)
    assert found.current == found.served == second.release != first.release
    assert device.service_pid() != old
    assert device.releases == sorted([first.release, second.release])
    # One of four files differs: only that was sent, the others are the same bytes on the disk.
    assert second.sent_bytes == len(b"differs 2" * 1000)
    inodes = {
        (device.root / "releases" / each / "pets.bundle/models/same.bin").stat().st_ino
        for each in device.releases
    }
    assert len(inodes) == 1

    # The same again sends nothing.
    again = put(device, payload(number=2))
    assert (again.release, again.sent_bytes, again.healthy) == (second.release, 0, True)
    assert device.releases == sorted([first.release, second.release])

    # A damaged release is not run again.
    file = device.root / "releases" / first.release / "pets.bundle/models/other.bin"
    file.chmod(0o644)
    file.write_bytes(b"bit rot")
    mended = put(device, payload(number=1))
    assert mended.release == f"{first.release}-2"
    assert whole(device).served == mended.release


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("dies", "it does not start: the camera is on fire"),
        ("dies later", r"its service is failed \(dead\)"),
        ("still", r"frames stopped \d s ago"),
        ("old", r"frames are 60000 ms old at their answer; 5000 may be"),
        ("blind", r"no frame was answered \(\d+ black\)"),
    ],
)
def test_what_does_not_stay_healthy_gives_way(mode, reason, served, payload, put, whole, quick):
    good = served.current
    options = dataclasses.replace(quick, start_s=1.0, still_s=0.5, watch_s=1.0)
    outcome = put(served, payload(mode), options)
    assert outcome.healthy is False
    assert re.search(reason, outcome.reason)
    assert outcome.runs == good
    assert whole(served).current == whole(served).served == good
    last = json.loads((served.root / "history.jsonl").read_text().splitlines()[-1])
    assert (last["release"], last["outcome"]) == (outcome.release, "returned")


def test_a_covered_lens_is_no_fault_of_the_next_release(device, payload, put, quick):
    put(device, payload())
    # It was accepted before the lens was covered:
    release = device.root / "releases" / (device.current or "")
    mode = release / "pets.bundle/mode"
    mode.chmod(0o644)
    mode.write_text("blind")
    device.run("systemctl --user restart edgeproof.service")
    assert put(device, payload("blind", number=2)).healthy


def test_a_first_release_that_fails_leaves_nothing_running(device, payload, put):
    outcome = put(device, payload("dies"))
    assert (outcome.healthy, outcome.runs) == (False, None)
    assert device.current is None
    assert "stop edgeproof.service" in (device.systemd_folder / "calls").read_text()


def test_a_check_that_fails_changes_nothing(served, payload, put, whole):
    before, good = served.releases, served.current
    bad = payload(number=2, check="import sys; sys.exit('differs first at stage preprocess')")
    with pytest.raises(DeployError, match=r"^board: does not pass its check there: differs first"):
        put(served, bad)
    assert whole(served).current == whole(served).served == good
    assert served.releases == before


def test_what_a_refused_deploy_has_copied_is_not_sent_again(device, payload, put):
    with pytest.raises(DeployError, match="does not pass its check there"):
        put(device, payload(check="import sys; sys.exit('no')"))
    (left,) = (device.root / "parts").iterdir()
    good = put(device, payload())
    assert (good.healthy, good.sent_bytes, good.release != left.name) == (True, 0, True)
    assert not list((device.root / "parts").iterdir())


@pytest.fixture
def back(device, quick) -> Callable[..., Outcome]:
    """Rolls the board back: `back(release)`."""

    def go(release: str | None = None) -> Outcome:
        with Connection(Address("board"), SshOptions(device.config)) as connection:
            return rollback(connection, release, quick, Reporter())

    return go


def test_each_rollback_goes_further_back(device, payload, put, whole, quick, back):
    first = put(device, payload(number=1)).release
    with pytest.raises(
        DeployError, match=r"^board: nothing healthy ran before what runs; edgeproo"
    ):
        back()
    second = put(device, payload(number=2)).release
    assert put(device, payload("dies", number=9)).healthy is False
    third = put(device, payload(number=3)).release
    for expected in (second, first):
        outcome = back()
        assert (outcome.release, outcome.healthy) == (expected, True)
        assert whole(device).served == expected
    with pytest.raises(
        DeployError, match=r"^board: nothing healthy ran before what runs; edgeproo"
    ):
        back()
    with pytest.raises(DeployError, match=r"^board: holds no release 'pets-x'; it holds: pets-"):
        back("pets-x")
    # Forward, by its name; what it went past on its way back is not behind it now.
    assert back(third).healthy
    assert whole(device).served == third
    assert back().release == first

    # Old releases go, those that were not healthy first, but never the one to go back to.
    assert device.releases == sorted([first, second, third])
    fourth = put(device, payload(number=4), dataclasses.replace(quick, keep=1)).release
    assert device.releases == sorted([first, fourth])


def unit_of(device) -> list[str]:
    return (device.home / ".config/systemd/user/edgeproof.service").read_text().splitlines()


def with_memory(options: DeployOptions, memory: str) -> DeployOptions:
    return dataclasses.replace(options, unit=UnitOptions(memory=memory))


def test_a_releases_unit_comes_and_goes_with_it(device, payload, put, whole, quick, back):
    good = put(device, payload(), with_memory(quick, "60%"))
    before = unit_of(device)
    assert "MemoryMax=60%" in before
    bad = put(device, payload("dies"), with_memory(quick, "1M"))
    assert (bad.healthy, unit_of(device)) == (False, before)
    # The same files within other limits are another release, of which nothing is sent.
    other = put(device, payload(), with_memory(quick, "50%"))
    assert (other.sent_bytes, other.release != good.release) == (0, True)
    assert "MemoryMax=50%" in unit_of(device)
    assert back().release == good.release
    assert (unit_of(device), whole(device).served) == (before, good.release)


def test_a_unit_that_may_not_be_told_of_changes_nothing(device, payload, put, whole):
    good = put(device, payload()).release
    before = unit_of(device)
    systemctl = (device.bin / "systemctl").read_text().removeprefix("#!/bin/sh\n")
    for word in ("daemon-reload", "enable"):
        device.program("systemctl", f"[ $2 != {word} ] || exit 1\n{systemctl}")
        with pytest.raises(DeployError, match=rf"^board: systemctl {word}"):
            put(device, payload(number=2))
        assert (unit_of(device), whole(device).served, device.current) == (before, good, good)
        assert not (device.root / "pending.json").exists()


def test_a_release_that_an_earlier_edgeproof_put_there(device, payload, put, whole, back):
    """It had one unit for all, which led through `current`."""
    old = put(device, payload()).release
    release = device.root / "releases" / old
    unit = device.home / ".config/systemd/user/edgeproof.service"
    text = unit.read_text().replace(str(release), str(device.root / "current"))
    (release / "unit").unlink()
    unit.write_text(text)
    assert put(device, payload("dies")).runs == old
    assert (unit.read_text(), whole(device).served) == (text, old)


def test_another_kind_of_service_takes_its_place(device, payload, put, whole, quick, back):
    first = put(device, payload())
    none = dataclasses.replace(quick, site=Site(service="none"))
    second = put(device, payload(), none)
    assert second.healthy is None
    assert second.release != first.release
    assert not (device.systemd_folder / "edgeproof.service.pid").exists()  # it was stopped
    assert "disable edgeproof.service" in (device.systemd_folder / "calls").read_text()
    assert back().healthy
    assert whole(device).served == first.release


def test_a_home_of_any_name(boards, payload, put, whole):
    device = boards(home="50% a b$HOME")
    assert put(device, payload()).healthy
    assert put(device, payload("dies")).runs == whole(device).served
    if analyze := shutil.which("systemd-analyze"):
        unit = device.home / ".config/systemd/user/edgeproof.service"
        done = subprocess.run(
            [analyze, "verify", "--man=no", "--user", unit],
            capture_output=True,
            text=True,
            env={"XDG_RUNTIME_DIR": str(device.folder), "HOME": str(device.home)},
        )
        assert "edgeproof.service" not in done.stderr


def test_a_home_that_no_unit_can_name(boards, payload, put):
    device = boards(home="it's")
    with pytest.raises(DeployError, match="systemd runs nothing below a folder of such a name"):
        put(device, payload())
    assert device.current is None


def test_without_systemd_it_says_what_to_run(boards, payload, put, whole):
    device = boards(systemd=False)
    # A systemctl that finds no systemd, as in a container.
    device.program("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    outcome = put(device, payload())
    assert outcome.healthy is None
    assert outcome.runs == device.current == outcome.release
    assert "System has not been booted with systemd" in outcome.notes[0]
    process = subprocess.Popen([outcome.command], stdout=subprocess.DEVNULL)
    try:
        status = device.root / "state/status.json"
        for _ in range(100):
            if status.is_file() and json.loads(status.read_text())["pid"] == process.pid:
                break
            threading.Event().wait(0.05)
        else:
            pytest.fail("the offered command does not run")
    finally:
        process.terminate()
        process.wait()


def test_two_at_once_one_is_told(device, payload, put, quick):
    inside, go_on = threading.Event(), threading.Event()

    def pause(step: str) -> None:
        if step == "check":
            inside.set()
            go_on.wait(20)

    outcomes = []
    first = threading.Thread(
        target=lambda: outcomes.append(put(device, payload(number=1), on_step=pause))
    )
    first.start()
    assert inside.wait(20)
    with pytest.raises(DeployError, match=r"^board: another deploy is under way, by \S+@\S+, for"):
        put(device, payload(number=2))
    waiting = threading.Thread(
        target=lambda: outcomes.append(
            put(device, payload(number=2), dataclasses.replace(quick, wait_s=30))
        )
    )
    waiting.start()
    go_on.set()
    first.join(30)
    waiting.join(30)
    assert [outcome.healthy for outcome in outcomes] == [True, True]
    assert device.current == outcomes[1].release


def test_a_lock_of_a_dead_deploy_is_no_lock(device, payload, put):
    (device.root).mkdir(parents=True)
    (device.root / "lock").write_text(json.dumps({"token": "x", "who": "a ghost", "since": 1}))
    device.start()
    assert put(device, payload()).healthy


@pytest.mark.parametrize(
    ("program", "shell", "message"),
    [
        (
            "uname",
            "[ $1 = -m ] && echo mips || echo Linux",
            r"is mips, for which there is no engin",
        ),
        ("uname", "[ $1 = -m ] && echo aarch64 || echo Darwin", r"runs Darwin, not Linux"),
        ("date", "echo $(($(/bin/date +%s) - 864000))", r"its clock is 10 days behind; set it"),
        ("date", "echo $(($(/bin/date +%s) + 3000))", r"its clock is 50 minutes ahead; set it"),
        ("date", "echo 12", r"its clock is 2\d{4} days behind; set it"),  # it thinks it is 1970
        ("sh", "exec cat", r"has no shell that answers"),
    ],
)
def test_a_device_that_cannot_take_it_is_left_as_it_is(
    program, shell, message, served, payload, put, whole
):
    before = sorted(served.home.rglob("*"))
    served.program(program, shell)
    try:
        with pytest.raises(DeployError, match=f"^board: {message}"):
            put(served, payload(number=2))
    finally:
        (served.bin / program).unlink()
    assert sorted(served.home.rglob("*")) == before
    assert whole(served).served == served.current


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "has no Python; edgeproof needs 3.10 to 3.13: sudo apt install python3"),
        ("echo 3.7 64 abc", "has Python 3.7; edgeproof needs"),
        ("echo This is no Python; exit 1", "has no Python; edgeproof needs"),
    ],
)
def test_without_a_python_that_suits(python, message, device, payload, put):
    tools = device.folder / "tools"
    tools.mkdir()
    for name in ("sh", "uname", "date", "id", "getconf", "cat"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    if python:
        device.program("python3", python)
    device.path = f"{device.bin}:{tools}"
    device.start()
    with pytest.raises(DeployError, match=f"^board: {message}"):
        put(device, payload())
    assert not device.root.exists()


def test_a_changed_host_key(device, payload, put):
    device.make_key("host_key")
    device.start()
    with pytest.raises(ConnectionFailed, match=r"^board: its host key has changed: either") as told:
        put(device, payload())
    assert not device.root.exists()
    # What it advises to do, done as it stands there: the board is an alias, on another port.
    command = shlex.split(str(told.value).removesuffix(".").partition("; then ")[2])
    assert command[0] == "ssh-keygen"
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConnectionFailed, match=r"^board: its host key is not known here"):
        put(device, payload())


def test_an_unknown_host_key_is_not_taken_on_trust(device, payload, put):
    device.forget_host()
    with pytest.raises(ConnectionFailed, match=r"^board: its host key is not known here; connect"):
        put(device, payload())


def test_keys_that_do_not_fit(device, payload, put):
    device.make_key("user_key")
    with pytest.raises(ConnectionFailed, match=r"^board: it lets nobody in with your keys; try"):
        put(device, payload())


def test_unreachable(device, payload, put):
    device.stop()
    with pytest.raises(ConnectionFailed, match=r"^board: it answers, but no SSH server does; is"):
        put(device, payload())


def test_no_such_host(device):
    with (
        pytest.raises(ConnectionFailed, match=r"^no\.such\.host\.invalid: there is no host of"),
        Connection(Address("no.such.host.invalid"), SshOptions(device.config)),
    ):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "-oProxyCommand=id",
        "pi@-oProxyCommand=id",
        "pi@-x",
        "ssh://-x",
        "ssh://pi@-x:22",
        "pi@",
        "@host",
        "",
        "a b",
        "a\n",
        "x;id",
        "$(id)",
        "`id`",
        "a\x1b[2J",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(DeployError, match="is no address"):
        Address(text)


@pytest.mark.parametrize(
    "text", ["door", "pi@door.local", "ssh://pi@door:2222/", "pi@fe80::1%eth0", "a.b@c.d@host"]
)
def test_what_is_an_address(text):
    assert Address(text).text == text


def test_a_login_shell_that_greets_and_complains(device, payload, put):
    complains = "head -c 300000 /dev/zero | tr '\\0' '\\033' >&2\n"
    (device.home / ".bashrc").write_text(f"echo Welcome to this board\n{complains}")
    assert put(device, payload()).healthy


@pytest.fixture
def small_disk(device):
    """The board's home on a disk of 4 MB."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", device.home], capture_output=True
    )
    if done.returncode:
        pytest.skip("needs root that may mount: a small tmpfs stands in for a full disk")
    device.start()  # its owner is the board's
    yield device
    subprocess.run(["umount", "-l", device.home], check=True)


def test_no_room(small_disk, payload, put):
    with pytest.raises(DeployError, match=r"^board: no room: 34 MB are needed below .*, 4 MB are"):
        put(small_disk, payload())


def test_a_disk_that_fills_up_on_the_way(small_disk, payload, put, whole, quick, monkeypatch):
    """Another program takes the space that was free a moment ago."""
    import devices.deploy.session as session

    store = "devices.deploy.remote.store"
    text = (session.sources()[store] or "").replace("SPARE_BYTES = 32 << 20", "SPARE_BYTES = 0")
    sent = session.packed({**session.sources(), store: text}, ready=False)
    monkeypatch.setattr(session, "program", lambda kind: sent)
    good = put(small_disk, payload())

    def fill(step: str) -> None:
        if step == "prepare":
            log = os.open(small_disk.home / "log", os.O_RDWR | os.O_CREAT)
            os.posix_fallocate(log, 0, shutil.disk_usage(small_disk.home).free)
            os.close(log)

    full = r"^board: no space left below .*; free some there, or prune with edgeproof releases"
    with pytest.raises(DeployError, match=full):
        put(small_disk, payload(number=2), on_step=fill)
    assert whole(small_disk).served == good.release
    (small_disk.home / "log").unlink()

    # A release that fills it itself: the way back, with the unit of the one before, needs no room.
    unit = unit_of(small_disk)
    greedy = dataclasses.replace(with_memory(quick, "60%"), still_s=0.5, watch_s=2.0)
    bad = put(small_disk, payload("fills"), greedy)
    assert (bad.healthy, bad.runs) == (False, good.release)
    assert re.match(r"the disk is full, and frames stopped \d s ago", bad.reason)
    assert (unit_of(small_disk), whole(small_disk).served) == (unit, good.release)
    assert not (small_disk.root / "pending.json").exists()
    (small_disk.root / "state/log").unlink()

    second = put(small_disk, payload(number=2))
    assert second.healthy
    fill("prepare")
    with Connection(Address("board"), SshOptions(small_disk.config)) as connection:
        with pytest.raises(DeployError, match=full):
            rollback(connection, None, quick, Reporter())
        assert whole(small_disk).served == small_disk.current == second.release
        opened, _ = open_session(connection, None, quick, Reporter())
        assert opened.call("status")["full"] is True
        with opened.locked(wait_s=0.0):  # what frees the disk needs no room on it
            opened.call("prune", {"keep": 1})


def test_going_back_where_nothing_has_been(device, back):
    before = sorted(device.home.rglob("*"))
    with pytest.raises(DeployError, match=r"^board: holds no release; edgeproof deploy puts one"):
        back()
    assert sorted(device.home.rglob("*")) == before


def test_a_file_that_changes_while_it_is_sent(served, payload, put, whole):
    what = payload(number=200)
    Path(what.folder / "models/other.bin").write_bytes(b"differs 201" * 1000)
    with pytest.raises(DeployError, match=r"^board: other\.bin: arrived damaged, or changed while"):
        put(served, what)
    assert whole(served).served == served.current
