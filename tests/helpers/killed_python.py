"""A Python that is killed in the middle of what it does: before the Nth change of one step.

Takes the place of the board's `python3`. Each change (a file opened for writing, a rename, a link,
a program started, ...) is a line in KILL_LOG, `PID WHAT`. KILL_AT is `STEP N`: the process that is
the STEPth in the log kills itself before its Nth change.
"""

import os
import signal
import sys
from pathlib import Path

LOG = os.environ["KILL_LOG"]
STEP, NUMBER = map(int, os.environ["KILL_AT"].split())
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link"}
CHANGES |= {"os.truncate", "subprocess.Popen", "os.chmod"}
busy = False


def hook(event: str, args: tuple[object, ...]) -> None:
    global busy
    if busy or not (event in CHANGES or (event == "open" and _writes(args))):
        return
    busy = True
    try:
        with Path(LOG).open("ab+") as log:
            log.write(f"{os.getpid()} {_named(event, args)}\n".encode())
            log.seek(0)
            pids = [int(line.split()[0]) for line in log]
        mine = os.getpid()
        if list(dict.fromkeys(pids)).index(mine) == STEP and pids.count(mine) == NUMBER:
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        busy = False


def _named(event: str, args: tuple[object, ...]) -> str:
    """Of a program that is started, what is asked of systemd."""
    words = args[1] if event == "subprocess.Popen" else None
    asked = (
        [w for w in words if w in ("restart", "daemon-reload")] if isinstance(words, list) else []
    )
    return f"{event}:{asked[0]}" if asked else event


def _writes(args: tuple[object, ...]) -> bool:
    flags = args[2] if len(args) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


if sys.argv[1:3] == ["-IS", "-c"]:
    code = sys.argv[3]
    sys.addaudithook(hook)
    exec(code, {"__name__": "__main__"})
else:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
