"""The folder that hard frames are kept in: bounded in size, number and age.

    DIR/unsorted/<the model's guess>/<time>_<source>_<frame>.png    to be sorted by a person
    DIR/frames.jsonl                                                what was answered, and why
    DIR/sealed/<time>_<source>_<frame>.png.age, .json.age           instead, when encrypted

Only files of these names in these folders are counted and removed: what a person moved elsewhere is
theirs. All is for its owner alone, and nothing goes through a link: beyond it, no limit would hold.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import StorageError
from edge_runtime.files import storage_errors, write_bytes
from edge_runtime.sinks.hard.records import CLOCK_SET_S, MODE, Records, require_plain
from edge_runtime.sinks.hard.seal import SUFFIX, Seal

UNSORTED, SEALED, RECORDS = "unsorted", "sealed", "frames.jsonl"
NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z_[a-z0-9_-]{1,60}_\d{1,12}(?:-\d{1,3})?", re.ASCII)
_SUFFIXES = (".png", f".png{SUFFIX}", f".json{SUFFIX}")
# Of the quota, lines may take a twentieth; and they are looked after when a twentieth of the frames
# has gone: a card wears out by being written.
_RECORDS_PART = 20
# What a killed process left half-written.
_STALE_PART_S = 60.0


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
        """Raises StorageError when it cannot be written into, or holds links."""
        self._root, self._limits, self._seal, self._on_note = root, limits, seal, on_note
        self._lock = threading.Lock()  # old ones are removed in another thread
        self._removed: set[str] = set()
        unsorted = root / UNSORTED
        guesses = list(unsorted.iterdir()) if unsorted.is_dir() else []
        for folder in (unsorted, root / SEALED, *guesses):
            _require_no_link(folder)
        require_plain(root / RECORDS)
        self._records = Records(
            root / RECORDS, limits.most_bytes // _RECORDS_PART, limits.most_frames
        )
        self._clear_parts()
        self._make_folders(root)
        if seal is None:  # sealed, nothing of a frame may be told in the open
            self._records.touch()
        self.remove_old()

    def keep(self, png: bytes, name: str, record: dict[str, Any]) -> Path:
        """Write one frame.

        Args:
            name: matches `NAME`.
            record: its `label` says into which folder.

        Raises:
            StorageError: when there is no room on the disk; nothing of it is there then.
        """
        with self._lock:
            return self._keep(png, name, record)

    def _keep(self, png: bytes, name: str, record: dict[str, Any]) -> Path:
        guess = folder_name(str(record.get("model_label", "")))
        file = f"{UNSORTED}/{guess}/{name}.png"
        if "file" in record:  # a picture of a folder had that name
            record = record | {"picture": record["file"]}
        text = json.dumps({"file": file} | record | {"file": file}, ensure_ascii=False)
        if self._seal is not None:
            sealed_png = self._seal.close(png)
            sealed_text = self._seal.close(text.encode("utf-8", errors="backslashreplace"))
            self._make_room(len(sealed_png) + len(sealed_text))
            path = self._root / SEALED / f"{name}.png{SUFFIX}"
            self._make_folders(self._root, path.parent)
            self._write_both(
                self._root / SEALED / f"{name}.json{SUFFIX}", sealed_text, path, sealed_png
            )
            return path
        self._make_room(len(png))
        path = self._root / UNSORTED / guess / f"{name}.png"
        self._make_folders(self._root, path.parent.parent, path.parent)
        write_bytes(path, png, mode=MODE)
        try:
            self._records.write(text)
        except StorageError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _write_both(self, record: Path, text: bytes, picture: Path, png: bytes) -> None:
        write_bytes(record, text, mode=MODE)
        try:
            write_bytes(picture, png, mode=MODE)
        except StorageError:
            record.unlink(missing_ok=True)
            raise

    def _make_folders(self, *folders: Path) -> None:
        for folder in folders:
            if folder != self._root:
                _require_no_link(folder)
            with storage_errors(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove_old(self) -> None:
        """Remove what is older than it may get."""
        with self._lock:
            oldest_s = self._oldest_s()
            for kept in self._present() if oldest_s is not None else ():
                if kept.modified_s < (oldest_s or 0.0):
                    self._remove(kept)
            self._prune()

    def close(self) -> None:
        """Records of frames that are gone go, too."""
        with self._lock:
            if self._removed:
                self._prune()

    def _oldest_s(self) -> float | None:
        now, most_age_s = time.time(), self._limits.most_age_s
        return None if most_age_s is None or now < CLOCK_SET_S else now - most_age_s

    def _remove(self, kept: _Kept) -> None:
        for file in kept.files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        self._removed.add(kept.name)

    def _prune(self) -> None:
        try:
            present = {kept.name for kept in self._present()}
            self._records.prune(present, self._removed, self._oldest_s())
            self._removed.clear()
        except StorageError as exc:  # the next time, then
            self._on_note(f"hard frames: {exc}")

    def _make_room(self, more: int) -> None:
        present = self._present()
        size = sum(kept.size for kept in present) + self._records.size
        while present and (
            len(present) >= self._limits.most_frames or size + more > self._limits.most_bytes
        ):
            oldest = present.pop(0)
            self._remove(oldest)
            size -= oldest.size
        if len(self._removed) * _RECORDS_PART >= self._limits.most_frames or self._records.is_large:
            self._prune()
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


def _require_no_link(folder: Path) -> None:
    if folder.is_symlink() and not folder.is_file():
        raise StorageError(
            f"{folder}: is a symbolic link, beyond which neither quota nor age would hold; remove "
            "it, or link the whole folder of --keep-hard."
        )
