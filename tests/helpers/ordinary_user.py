"""Programs as an ordinary user, also where the tests run as root: boards belong to no root.

Root's programs start in a mount namespace of their own, in which there is one account more. Nothing
of the machine's is changed: it ends with its last process.
"""

from __future__ import annotations

import functools
import getpass
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Debian's ordinary users begin at 1000, systemd's own at 60000.
_NAME, _ID = "board", 54321


@functools.lru_cache(maxsize=1)
def is_other() -> bool:
    """Whether there is another user for it than the one who runs the tests."""
    if os.getuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return done.returncode == 0


def name() -> str:
    return _NAME if is_other() else getpass.getuser()


def user_id() -> int:
    return _ID if is_other() else os.getuid()


def give(folder: Path) -> None:
    """Make it that user's, with all that is in it."""
    if is_other():
        # Above it may lie a folder that was made for its maker alone.
        folder.parent.chmod(0o755)
        owner = f"{_ID}:{_ID}"
        subprocess.run(["chown", "--recursive", "--no-dereference", owner, folder], check=True)


def command(folder: Path, home: Path, what: Sequence[str]) -> list[str]:
    """A command, as that user.

    Args:
        folder: where notes for it may lie.
        home: what the account's home is.
    """
    if not is_other():
        return list(what)
    script = [*account(folder, home), f'exec setpriv {privileges()} "$@"']
    return ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh", *what]


def privileges() -> str:
    """For setpriv."""
    return f"--reuid {_ID} --regid {_ID} --clear-groups"


def account(folder: Path, home: Path) -> list[str]:
    """What root's shell does in a new mount namespace, so that there is such a user."""
    users = folder / "passwd"
    known = Path("/etc/passwd").read_text(encoding="utf-8")
    # Boards' own: one that reads .bashrc for a command, too.
    shell = shutil.which("bash") or "/bin/sh"
    users.write_text(f"{known}{_NAME}:x:{_ID}:{_ID}::{home}:{shell}\n", encoding="utf-8")
    lines = [f"mount --bind {shlex.quote(str(users))} /etc/passwd"]
    return [*lines, *_opened(folder, (sys.base_prefix, sys.prefix, REPOSITORY))]


def _opened(folder: Path, needed: Iterable[str | Path]) -> list[str]:
    """Lets that user reach what lies in folders that are root's alone, such as /root."""
    lines: list[str] = []
    shut: dict[Path, list[Path]] = {}
    for path in (Path(each).resolve() for each in needed):
        closed = next((p for p in [*path.parents][::-1] if p.stat().st_mode & 0o5 != 0o5), None)
        if closed is not None:
            shut.setdefault(closed, []).append(path)
    for closed, paths in shut.items():
        spots = [(path, folder / f"kept-{number}-{path.name}") for number, path in enumerate(paths)]
        for path, spot in spots:
            spot.mkdir(exist_ok=True)
            lines.append(f"mount --bind {shlex.quote(str(path))} {shlex.quote(str(spot))}")
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(closed))}")
        for path, spot in spots:
            quoted = shlex.quote(str(path))
            lines.append(f"mkdir -p {quoted}")
            lines.append(f"mount --bind {shlex.quote(str(spot))} {quoted}")
    return lines
