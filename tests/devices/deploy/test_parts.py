"""What deploying is made of, part by part: unit file, hosts file, own wheel, fleet, judgement."""

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from devices.deploy.connection import Address
from devices.deploy.deploying import Reporter
from devices.deploy.errors import DeployError
from devices.deploy.fleet import Fleet
from devices.deploy.hosts import Host, read_hosts
from devices.deploy.own_wheel import write_own_wheel
from devices.deploy.packages import Environment
from devices.deploy.payload import Payload
from devices.deploy.remote.environment import build
from devices.deploy.remote.health import Limits, Watch
from devices.deploy.remote.history import note_history, read_history
from devices.deploy.remote.memory import memory_is_limited
from devices.deploy.remote.place import Place, StepError, inside
from devices.deploy.session import _BOOTSTRAP, packed, sources
from devices.deploy.unit import UnitOptions, unit_text


@pytest.mark.parametrize(
    "memory", ["lots", "", "0", "-1", "101%", "1.5G", "512M\nUser=root", "5 M"]
)
def test_a_limit_that_systemd_would_pass_over_is_refused(memory):
    with pytest.raises(DeployError, match=r"--memory .*: write bytes with K, M or G"):
        UnitOptions(memory=memory)


@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_the_unit_is_one_that_systemd_reads(system, tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is absent (apt install systemd)")
    text = unit_text(UnitOptions(memory="512M"), system=system)
    for key, value in {"{user}": "daemon", "{start}": "/bin/true", "{walls}": "true"}.items():
        text = text.replace(key, value)
    file = tmp_path / "edgeproof.service"
    file.write_text(text.replace("{state}", "/var/lib/edgeproof"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *([] if system else ["--user"]), file],
        capture_output=True,
        text=True,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    said = [line for line in done.stderr.splitlines() if "edgeproof.service" in line]
    assert said == [], done.stderr


def test_the_unit_locks_the_service_up():
    for system in (False, True):
        lines = unit_text(UnitOptions(memory="60%"), system=system).splitlines()
        wanted = {"ProtectSystem=strict", "NoNewPrivileges=true", "MemoryMax=60%"}
        wanted |= {"Restart=on-failure", "WatchdogSec=30", "Type=notify"}
        assert wanted <= set(lines)
    # A user's systemd cannot drop capabilities, and would refuse to start it.
    user = unit_text(UnitOptions(), system=False)
    assert "CapabilityBoundingSet" not in user
    assert "ProtectKernelModules" not in user


def test_hosts_with_arguments_of_their_own(tmp_path):
    file = tmp_path / "hosts"
    # As another system's editor may leave it: with a mark before it, and other ends of lines.
    text = "# the shop\r\npi@door   # by the door\r\n \t\r\ncam-2 --source 'rtsp://a/b c'\r\n"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_hosts(file) == (
        Host(Address("pi@door")),
        Host(Address("cam-2"), ("--source", "rtsp://a/b c")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n-oProxyCommand=x\n", "hosts, line 2: '-oProxyCommand=x': is no address"),
        ("a\nb\na\n", "hosts, line 3: a: stands there twice"),
        ("a 'b\n", "hosts, line 1: No closing quotation"),
        ("a\nb\x1b[2J\n", r"hosts, line 2: 'b\\x1b\[2J': is no address"),
        ("a\n'b c'\n", "hosts, line 2: 'b c': is no address"),
        ("--source 0\n", "hosts, line 1: '--source': is no address"),
        ("pi@-oProxyCommand=x\n", "hosts, line 1: 'pi@-oProxyCommand=x': is no address"),
        ("# none\n", "hosts: names no device; one ADDRESS a line"),
    ],
)
def test_hosts_that_are_none(text, message, tmp_path):
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(DeployError, match=message):
        read_hosts(tmp_path / "hosts")


def test_hosts_that_are_no_text(tmp_path):
    (tmp_path / "hosts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeployError, match="is not UTF-8 text"):
        read_hosts(tmp_path / "hosts")
    with pytest.raises(DeployError, match="absent: cannot be read: No such file"):
        read_hosts(tmp_path / "absent")


def test_the_own_wheel_is_the_same_each_time_and_whole(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (write_own_wheel(tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        names = set(packed.namelist())
    for wanted in (
        "edgeproof.py",
        "devices/wheels.toml",
        "devices/deploy/remote/probe.sh",
        "edge_runtime/templates/page.html.j2",
        "converters/gates.toml",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name]
    # pip's own check of RECORD, hash by hash:
    command = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", tmp_path / "site", first], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/edge_runtime/bundle.py").is_file()


def test_an_environments_key_tells_what_is_in_it():
    keys = {
        Environment(version="3.11").key,
        Environment(version="3.12").key,
        Environment(version="3.11", offline=True).key,
        Environment(version="3.11", extras=("mqtt",)).key,
        Environment(version="3.11", system_packages=True).key,
    }
    assert len(keys) == 5
    assert Environment(python="/usr/bin/python3").key == ""


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", ".x", "x" * 81, "a b"])
def test_a_payload_has_a_name_for_a_folder(name):
    with pytest.raises(DeployError, match="no name for a folder on a device"):
        Payload(name, Path(), (), (), ())


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"])
def test_no_path_leads_out_of_a_release(path, tmp_path):
    with pytest.raises(StepError, match="leads out of the release"):
        inside(tmp_path, path)


def test_history_survives_half_a_line(tmp_path):
    place = Place(str(tmp_path))
    note_history(place, release="a", outcome="healthy")
    with place.history.open("ab") as file:
        file.write(b'{"at": 12, "rel')
    note_history(place, release="b", outcome="healthy")
    assert [entry["release"] for entry in read_history(place)] == ["a", "b"]


def test_half_an_environment_takes_no_room(tmp_path):
    """What it has made by the time that it fails may be hundreds of megabytes."""
    place = Place(str(tmp_path))
    place.make()
    wheel = place.wheels / "0" / "edgeproof-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"no wheel")
    params = {"python": "", "key": "py", "offline": True, "system_packages": False}
    pip = ["pip-1-py3-none-any.whl", "0", 8]
    params["wheels"] = [["edgeproof-1-py3-none-any.whl", "0", 8], pip]
    (wheel.with_name(pip[0])).write_bytes(b"no pip")
    with pytest.raises(StepError, match="edgeproof cannot be installed there: "):
        build(place, params, os.open(place.step_lock, os.O_CREAT), lambda told: None)
    assert list(place.venvs.iterdir()) == []


@pytest.mark.parametrize("ready", [True, False], ids=["compiled", "as text"])
def test_what_goes_along_needs_nothing_but_pythons_own(ready):
    """The device's Python runs it before anything is installed there."""
    main = "devices.deploy.remote.main"
    imports = "".join(f"import {name}\n" for name in sources() if name != main)
    told = "print(sorted(n for n in sys.modules if n.split('.')[0] in {'numpy', 'typer'}))"
    fake = {**sources(), main: f"import sys\n{imports}def main(): {told}\n"}
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _BOOTSTRAP],
        input=packed(fake, ready=ready),
        capture_output=True,
        check=False,
        cwd="/",
    )
    assert (done.stdout, done.stderr) == (b"[]\n", b"")


def hosts(*names: str) -> list[Host]:
    return [Host(Address(name)) for name in names]


def test_the_rest_waits_for_the_canary():
    done: list[str] = []

    def work(host: Host, reporter: Reporter) -> bool:
        done.append(host.address.text)
        return host.address.text != "a"

    fleet = Fleet(hosts("a", "b", "c"), work, is_good=lambda good: good)
    fleet.run(parallel=2, canary=True)
    assert done == ["a"]
    assert [row.state for row in fleet.rows] == ["failed", "left out", "left out"]
    assert fleet.rows[1].at == "a did not do well"
    assert fleet.failed == 3


def test_one_that_fails_does_not_stop_the_others_and_no_more_than_asked_at_once():
    together, most, lock = 0, 0, threading.Lock()

    def work(host: Host, reporter: Reporter) -> bool:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        threading.Event().wait(0.05)
        with lock:
            together -= 1
        if host.address.text == "b":
            raise DeployError("b: no room")
        return True

    fleet = Fleet(hosts(*"abcdef"), work)
    fleet.run(parallel=2, canary=False)
    assert most == 2
    assert [row.state for row in fleet.rows] == ["done", "failed", *["done"] * 4]
    assert (fleet.rows[1].at, fleet.failed) == ("no room", 1)


LIMITS = Limits(start_s=60, still_s=60, age_ms=1000)
ACTIVE = {"active": "active", "sub": "running", "pid": 7, "restarts": 0}


@pytest.mark.parametrize(
    ("service", "status", "trouble"),
    [
        ({}, {"frames": 5, "age_ms": 5, "live": True, "answers": [{"score": 1}]}, ""),
        ({"active": "failed"}, {}, "its service is failed (running)"),
        ({"pid": 8}, {}, "it ended and was started again"),
        ({}, {"frames": 5, "age_ms": 1001.0, "live": True}, "frames are 1001 ms old at their ans"),
        ({}, {"frames": 5, "age_ms": 1e9, "live": False}, ""),
        ({}, {"frames": 5, "answers": [{"score": 1.5}]}, "it answered a score of 1.5, which is no"),
        (
            {},
            {"frames": 5, "answers": [{"score": float("nan")}]},
            "it answered a score of nan, whi",
        ),
        ({}, {"frames": 5, "answers": ["x"]}, "it answered a score of None, which is no probabi"),
        ({}, {"frames": "many", "answers": 3, "age_ms": True, "live": True}, ""),
    ],
)
def test_a_sample_is_judged(service, status, trouble):
    watch = Watch(LIMITS, pid=7)
    found = watch.trouble({**ACTIVE, **service}, {"pid": 7, **status})
    assert found.startswith(trouble)
    assert bool(found) == bool(trouble)


def test_the_status_of_another_process_is_no_news():
    watch = Watch(Limits(start_s=0, still_s=60, age_ms=1), pid=7)
    threading.Event().wait(0.01)
    assert "within 0 s of its start" in watch.trouble(ACTIVE, {"pid": 6, "frames": 9})
    assert not watch.flows()


@pytest.mark.parametrize(
    ("lines", "limits", "kept"),
    [
        pytest.param("0::/a/b.service", {"a/b.service/memory.max": "8192"}, True, id="v2"),
        pytest.param("0::/a/b.service", {"a/b.service/memory.max": "max"}, False, id="v2-none"),
        pytest.param("0::/a/b.service", {"a/b.service/cpu.max": "max 1"}, False, id="v2-off"),
        pytest.param(
            "3:cpu,memory:/b\n0::/b", {"memory/b/memory.limit_in_bytes": "8192"}, True, id="v1"
        ),
        pytest.param(
            "3:memory:/b\n0::/b",
            {"memory/b/memory.limit_in_bytes": "9223372036854771712"},
            False,
            id="v1-none",
        ),
        # The parent's limit is not the service's.
        pytest.param("0::/a/b.service", {"a/memory.max": "8192"}, False, id="parent"),
        pytest.param(None, {}, None, id="gone"),
    ],
)
def test_a_limit_of_memory_is_looked_for_where_the_kernel_keeps_it(lines, limits, kept, tmp_path):
    if lines is not None:
        (tmp_path / "proc/7").mkdir(parents=True)
        (tmp_path / "proc/7/cgroup").write_text(f"{lines}\n")
    for name, text in limits.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True)
        file.write_text(f"{text}\n")
    assert memory_is_limited(7, root=tmp_path) is kept
