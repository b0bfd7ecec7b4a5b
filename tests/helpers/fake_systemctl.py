"""A stand-in for `systemctl --user restart` and `stop`, for machines without systemd.

It reads the unit file's ExecStart, starts it with a notification socket of its own, and answers
`restart` once READY=1 has come, as systemd does for Type=notify. It restarts nothing by itself and
enforces none of the unit's limits. What else systemctl is asked, a shell answers (board_over_ssh).
"""

import os
import re
import shlex
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
            [word.replace("%%", "%") for word in shlex.split(found[1])],
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


def main() -> int:
    command, unit = sys.argv[1:]
    if command == "restart":
        return restart(unit)
    stop(unit)
    return 0


sys.exit(main())
