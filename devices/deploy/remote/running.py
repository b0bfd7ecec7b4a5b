"""Programs that a step runs on the device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devices.deploy.remote.place import StepError


def run(
    command: Sequence[str],
    *,
    lock: int | None = None,
    timeout_s: float = 60.0,
    told: str = "",
    cwd: str | Path = "/",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it says comes back as text.

    Args:
        lock: the open step lock, which the program shall hold too.
        told: what it reads.

    Raises:
        StepError: when it cannot be started or takes too long.
    """
    try:
        return subprocess.run(
            command,
            input=told,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            pass_fds=() if lock is None else (lock,),
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as exc:
        raise StepError(f"{command[0]}: took longer than {timeout_s:.0f} s") from exc
    except OSError as exc:
        raise StepError(f"{command[0]}: cannot be run: {exc.strerror}") from exc


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed program said last: the line that says why, with most programs."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with exit code {done.returncode}"
