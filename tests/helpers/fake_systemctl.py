"""A stand-in for `systemctl --user`, for machines without systemd: it starts and stops one unit.

It reads the unit file's ExecStart, starts it with a notification socket of its own, and answers
`restart` once READY=1 has come, as systemd does for Type=notify. It restarts nothing by itself and
enforces none of the unit's limits; what it was asked is in `calls`.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_SYSTEMD"])
READY_S = 20.0


def unit_file(unit: str) -> Path:
    return Path(os.environ["HOME"]) / ".config/systemd/user" / unit


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def pid_of(unit: str) -> int:
    try:
        return int((HOME / f"{unit}.pid").read_text())
    except (OSError, ValueError):
        return 0


def stop(unit: str) -> None:
    pid = pid_of(unit)
    if pid and alive(pid):
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 5
        while alive(pid) and time.monotonic() < until:
            time.sleep(0.02)
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    (HOME / f"{unit}.pid").unlink(missing_ok=True)


def restart(unit: str) -> int:
    stop(unit)
    found = re.search(r"^ExecStart=(.*)$", unit_file(unit).read_text(), re.M)
    assert found
    path = HOME / f"{os.getpid()}.s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(0.1)
        log = (HOME / f"{unit}.log").open("ab")
        process = subprocess.Popen(
            found[1].split(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "NOTIFY_SOCKET": str(path)},
        )
        (HOME / f"{unit}.pid").write_text(str(process.pid))
        until = time.monotonic() + READY_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if b"READY=1" in notify.recv(4096):
                    return 0
            except TimeoutError:
                continue
    print(f"Job for {unit} failed because the control process exited", file=sys.stderr)
    return 1


def show(unit: str) -> None:
    pid = pid_of(unit)
    active = bool(pid) and alive(pid)
    print(f"ActiveState={'active' if active else 'failed' if pid else 'inactive'}")
    print(f"SubState={'running' if active else 'dead'}")
    print(f"MainPID={pid if active else 0}")
    print("NRestarts=0")


def main() -> int:
    command, *rest = [a for a in sys.argv[1:] if a != "--user"]
    with (HOME / "calls").open("a") as calls:
        print(command, *rest, file=calls)
    if command == "restart":
        return restart(rest[0])
    if command == "stop":
        stop(rest[0])
    elif command == "show" and "--property=ExecMainPID" in rest:
        print(pid_of(rest[0]))
    elif command == "show" and not rest[0].startswith("--"):
        show(rest[0])
    return 0


sys.exit(main())
