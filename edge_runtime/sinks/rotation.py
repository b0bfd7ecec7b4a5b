"""When a file of lines gives way to a new one, and how many old ones stay."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.errors import OptionError

Sync = Literal["never", "second", "line"]
SYNCS: tuple[Sync, ...] = ("never", "second", "line")

_UNITS = {
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
KEEP = 10
MOST_KEPT = 1000


@dataclass(frozen=True)
class Rotation:
    """What makes a file full.

    Attributes:
        most_bytes: a file grows no larger; `None` for any size.
        most_s: its first line gets no older; `None` for any age.
        keep: how many full ones stay, as `NAME.1` (the newest) to `NAME.N`.
    """

    most_bytes: int | None = None
    most_s: float | None = None
    keep: int = KEEP

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= MOST_KEPT:
            raise OptionError(f"--jsonl-keep {self.keep}: 1 to {MOST_KEPT} full files can be kept.")

    @classmethod
    def parse(cls, text: str, keep: int = KEEP) -> Rotation:
        """Read a size (`10MB`, `64MiB`) or a time (`90s`, `30m`, `1h`, `7d`).

        Raises:
            OptionError: when it is neither.
        """
        if (most_bytes := size_of(text)) is not None and most_bytes >= 1000:
            return cls(most_bytes=most_bytes, keep=keep)
        if (most_s := seconds_of(text)) is not None and most_s >= 1:
            return cls(most_s=most_s, keep=keep)
        raise OptionError(
            f"--jsonl-rotate {text!r}: write a size from 1KB, such as 10MB, or a time from 1s, "
            "such as 1h or 7d."
        )

    def is_due(self, size: int, more: int, age_s: float) -> bool:
        """Whether a file of that size and age is full before `more` bytes are added."""
        if size == 0:
            return False
        too_large = self.most_bytes is not None and size + more > self.most_bytes
        return too_large or (self.most_s is not None and age_s >= self.most_s)


def size_of(text: str) -> int | None:
    """Bytes of `10MB` (millions) or `10MiB`; `None` for other text."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([KMG]i?B)", text.strip(), re.IGNORECASE)
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def seconds_of(text: str, *, plain: bool = False) -> float | None:
    """Seconds of `90s`, `30m`, `1h` or `7d`; `None` for other text.

    Args:
        plain: a number alone is seconds.
    """
    unit = "[smhd]?" if plain else "[smhd]"
    found = re.fullmatch(rf"(\d{{1,6}}(?:\.\d{{1,3}})?)\s*({unit})", text.strip())
    return float(found[1]) * _TIMES[found[2] or "s"] if found else None


def put_aside(path: Path, keep: int) -> None:
    """`NAME` becomes `NAME.1`, which becomes `NAME.2`, and so on; what was `NAME.keep` goes.

    Only as far as the first free number: what is killed in between, or tried again, loses nothing.

    Raises:
        OSError: when that is not possible.
    """
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, keep + 1))]
    free = next((n for n in range(1, keep) if not names[n].exists()), keep)
    for number in range(free, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            names[number - 1].replace(names[number])
