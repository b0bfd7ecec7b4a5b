"""What is said of each hard frame, a line each; within the bounds that the frames have."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edge_runtime.errors import StorageError
from edge_runtime.files import storage_errors, write_bytes
from edge_runtime.sinks.lines import LineFile

# For their owner alone: they are about people.
MODE = 0o600
_LONGEST_LINE = 1 << 20
# Before this a device's clock was never set: nothing is old by it.
CLOCK_SET_S = 1.6e9


class Records:
    """`frames.jsonl`: opened for each line, as there are few; so it may be replaced in between."""

    def __init__(self, path: Path, most_bytes: int, most_lines: int) -> None:
        """Args: most_bytes, most_lines: the oldest go; looked after by `prune`."""
        self._path, self._most_bytes, self._most_lines = path, most_bytes, most_lines
        # Earlier versions rotated; what lies there is older than all of the other.
        self._older = path.with_name(f"{path.name}.1")

    def touch(self) -> None:
        """Raises StorageError when it cannot be written."""
        require_plain(self._path)
        LineFile(self._path, lambda note: None, append=True, mode=MODE).close()

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(p.stat().st_size for p in (self._older, self._path) if p.is_file())

    @property
    def is_large(self) -> bool:
        """Whether `prune` is due for its size alone."""
        return self.size > self._most_bytes

    def write(self, line: str) -> None:
        """Raises StorageError when it cannot be written; nothing of it is there then."""
        require_plain(self._path)
        lines = LineFile(self._path, lambda note: None, append=True, mode=MODE)
        try:
            lines.write(line)
        finally:
            lines.close()

    def prune(
        self, present: Collection[str], removed: Collection[str], oldest_s: float | None
    ) -> None:
        """Rewrite it without lines of removed frames and old ones, if there are any.

        Args:
            present, removed: names of frames; a person may have moved others elsewhere.
            oldest_s: lines from before that time go, unless the frame is there; `None` for any age.

        Raises:
            StorageError: when it cannot be written; it is as it was then.
        """
        files = [p for p in (self._older, self._path) if p.is_file() and not p.is_symlink()]
        kept: deque[bytes] = deque()
        size = found = 0
        with storage_errors(self._path):
            for file in files:
                with file.open("rb") as lines:
                    while line := lines.readline(_LONGEST_LINE):
                        found += 1
                        if _is_wanted(line, present, removed, oldest_s):
                            kept.append(line)
                            size += len(line)
                        # Down to half, or the next line would make it too large again.
                        if size > self._most_bytes:
                            while len(kept) > 1 and size > self._most_bytes // 2:
                                size -= len(kept.popleft())
                        while len(kept) > self._most_lines:
                            size -= len(kept.popleft())
            if len(kept) < found:
                write_bytes(self._path, b"".join(kept), mode=MODE)
                self._older.unlink(missing_ok=True)


def require_plain(file: Path) -> None:
    """Raises StorageError for a link, a pipe or whatever else is no regular file."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise StorageError(f"{file}: is there and is no regular file; remove it.")


def _is_wanted(
    line: bytes, present: Collection[str], removed: Collection[str], oldest_s: float | None
) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        record: dict[str, Any] = json.loads(line)
        name = Path(str(record["file"])).name.removesuffix(".png")
        at_s = float(record.get("time", 0.0))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False  # nothing of ours
    if name in present:
        return True
    # Of a clock that was not set, no age can be told.
    return name not in removed and (oldest_s is None or not CLOCK_SET_S <= at_s < oldest_s)
