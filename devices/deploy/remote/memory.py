"""Whether the kernel keeps a service within its limit of memory."""

from __future__ import annotations

from pathlib import Path

# An older kernel's "no limit" is the largest number of whole pages.
_NO_LIMIT = 1 << 60


def memory_is_limited(pid: int | None, *, root: Path = Path("/")) -> bool | None:
    """Whether a process is in a control group with a limit of memory.

    systemd passes `MemoryMax=` over where the kernel's memory controller is off, as some boards
    boot it, or is not handed on to a user's services.

    Args:
        root: of the file system.

    Returns:
        None where it cannot be told.
    """
    try:
        lines = (root / f"proc/{pid or 0}/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    groups = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    mounted = root / "sys/fs/cgroup"
    files = [mounted / path.lstrip("/") / "memory.max" for n, path in groups.items() if not n]
    files += [
        mounted / "memory" / path.lstrip("/") / "memory.limit_in_bytes"
        for names, path in groups.items()
        if "memory" in names.split(",")
    ]
    return any(_limit(file) < _NO_LIMIT for file in files)


def _limit(file: Path) -> int:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return _NO_LIMIT
    return int(text) if text.isdigit() else _NO_LIMIT
