"""The folder that hard frames are kept in: bounded in size, number and age.

    DIR/unsorted/<the model's guess>/<time>_<source>_<frame>.png    to be sorted by a person
    DIR/frames.jsonl                                                what was answered, and why
    DIR/sealed/<time>_<source>_<frame>.png.age, .json.age           instead, when encrypted

Only files of these names in these folders are counted and removed: what a person moved elsewhere is
theirs.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import StorageError
from edge_runtime.files import write_bytes
from edge_runtime.sinks.hard.seal import SUFFIX, Seal
from edge_runtime.sinks.lines import LineFile
from edge_runtime.sinks.rotation import Rotation

UNSORTED, SEALED, RECORDS = "unsorted", "sealed", "frames.jsonl"
NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z_[a-z0-9_-]{1,60}_\d{1,12}(?:-\d{1,3})?", re.ASCII)
_SUFFIXES = (".png", f".png{SUFFIX}", f".json{SUFFIX}")
# A line of each frame; of the newest ten thousand or so.
_RECORDS_ROTATION = Rotation(most_bytes=4 << 20, keep=1)
# What a killed process left half-written.
_STALE_PART_S = 60.0
# Before this a device's clock was never set: nothing is old by it.
_CLOCK_SET_S = 1.6e9


@dataclass(frozen=True)
class Limits:
    """How much may lie there.

    Attributes:
        most_bytes, most_frames: the oldest go first.
        most_age_s: older ones go; `None` for any age.
    """

    most_bytes: int
    most_frames: int
    most_age_s: float | None


@dataclass(frozen=True)
class _Kept:
    """One frame's files."""

    name: str
    files: tuple[Path, ...]
    size: int
    modified_s: float


class HardFolder:
    """Writes frames, and removes the oldest when there are too many."""

    def __init__(
        self,
        root: Path,
        limits: Limits,
        seal: Seal | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises StorageError when it cannot be written into."""
        self._root, self._limits, self._seal = root, limits, seal
        self._clear_parts()
        self.remove_old()
        # Sealed, nothing of a frame may be told in the open.
        self._records = (
            None
            if seal
            else LineFile(root / RECORDS, on_note, append=True, rotate=_RECORDS_ROTATION)
        )

    def keep(self, png: bytes, name: str, record: dict[str, Any]) -> Path:
        """Write one frame.

        Args:
            name: matches `NAME`.
            record: its `label` says into which folder.

        Raises:
            StorageError: when there is no room on the disk.
        """
        guess = folder_name(str(record.get("model_label", "")))
        text = json.dumps({"file": f"{UNSORTED}/{guess}/{name}.png", **record}, ensure_ascii=False)
        if self._seal is not None:
            sealed_png = self._seal.close(png)
            sealed_text = self._seal.close(text.encode("utf-8", errors="backslashreplace"))
            self._make_room(len(sealed_png) + len(sealed_text))
            path = self._root / SEALED / f"{name}.png{SUFFIX}"
            write_bytes(self._root / SEALED / f"{name}.json{SUFFIX}", sealed_text)
            write_bytes(path, sealed_png)
            return path
        self._make_room(len(png))
        path = self._root / UNSORTED / guess / f"{name}.png"
        write_bytes(path, png)
        if self._records is not None:
            self._records.write(text)
        return path

    def remove_old(self) -> None:
        """Remove what is older than it may get."""
        now, most_age_s = time.time(), self._limits.most_age_s
        if most_age_s is None or now < _CLOCK_SET_S:
            return
        for kept in self._present():
            if now - kept.modified_s > most_age_s:
                _remove(kept)

    def close(self) -> None:
        """Raises StorageError when records were lost."""
        if self._records is not None:
            self._records.close()

    def _make_room(self, more: int) -> None:
        present = self._present()
        size = sum(kept.size for kept in present)
        while present and (
            len(present) >= self._limits.most_frames or size + more > self._limits.most_bytes
        ):
            oldest = present.pop(0)
            _remove(oldest)
            size -= oldest.size
        if more > self._limits.most_bytes:
            raise StorageError(f"{self._root}: one frame of {more} bytes is more than the quota.")

    def _present(self) -> list[_Kept]:
        """All frames that are there, the oldest first."""
        found: dict[str, list[Path]] = {}
        for file in self._files():
            found.setdefault(file.name.partition(".png")[0].partition(".json")[0], []).append(file)
        kept = []
        for name, files in sorted(found.items()):
            with contextlib.suppress(FileNotFoundError):  # somebody sorts them just now
                stats = [file.stat() for file in files]
                modified_s = max(s.st_mtime for s in stats)
                kept.append(_Kept(name, tuple(files), sum(s.st_size for s in stats), modified_s))
        return kept

    def _files(self) -> Iterator[Path]:
        for folder in self._folders():
            with contextlib.suppress(OSError):
                for file in folder.iterdir():
                    suffix = next((s for s in _SUFFIXES if file.name.endswith(s)), "")
                    name = file.name.removesuffix(suffix)
                    if suffix and NAME.fullmatch(name) and not file.is_symlink():
                        yield file

    def _folders(self) -> list[Path]:
        unsorted = self._root / UNSORTED
        guesses = [p for p in unsorted.iterdir() if p.is_dir()] if unsorted.is_dir() else []
        return [*(p for p in guesses if not p.is_symlink()), self._root / SEALED]

    def _clear_parts(self) -> None:
        for folder in self._folders():
            with contextlib.suppress(OSError):
                for part in folder.glob(".*.part.*"):
                    if time.time() - part.stat().st_mtime > _STALE_PART_S:
                        part.unlink()


def folder_name(label: str) -> str:
    """A label as the name of a folder; labels were such names, and mostly stay as they are."""
    name = re.sub(r"[^\w .()+-]", "_", label).strip(" .")
    return name.encode()[:200].decode(errors="ignore").strip(" .") or "unlabelled"


def _remove(kept: _Kept) -> None:
    for file in kept.files:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
