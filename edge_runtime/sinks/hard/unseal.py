"""From encrypted hard frames to pictures that can be sorted, where the private key is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import StorageError
from edge_runtime.files import write_bytes
from edge_runtime.sinks.hard.folder import NAME, RECORDS, SEALED, UNSORTED, folder_name
from edge_runtime.sinks.hard.seal import SUFFIX, Opener
from edge_runtime.sinks.lines import LineFile

_MOST_PICTURE_BYTES, _MOST_RECORD_BYTES = 256 << 20, 1 << 20


@dataclass
class Unsealed:
    """What became of the frames.

    Attributes:
        opened: written now.
        present: were there already.
        failed: each with its reason.
    """

    opened: int
    present: int
    failed: list[str]


def unseal(
    sealed: Path,
    opener: Opener,
    out: Path,
    on_note: Callable[[str], None] = lambda text: None,
) -> Unsealed:
    """Decrypt every frame of a `--keep-hard` folder, into the layout that it has unencrypted.

    Whoever has the public key can make such files: names come from the file names, which are
    checked, and folders from a label made harmless.

    Raises:
        StorageError: when there is nothing to decrypt, or `out` cannot be written.
    """
    folder = sealed / SEALED if (sealed / SEALED).is_dir() else sealed
    files = sorted(folder.glob(f"*.png{SUFFIX}")) if folder.is_dir() else []
    if not files:
        raise StorageError(f"{sealed}: holds no *.png{SUFFIX}; name a folder of --keep-hard.")
    result = Unsealed(0, 0, [])
    records = LineFile(out / RECORDS, on_note, append=True)
    try:
        for file in files:
            name = file.name.removesuffix(f".png{SUFFIX}")
            if not NAME.fullmatch(name) or file.is_symlink():
                result.failed.append(f"{file}: has no name of a hard frame.")
                continue
            try:
                _unseal_one(file, name, opener, out, records, result)
            except StorageError as exc:
                result.failed.append(str(exc))
    finally:
        records.close()
    return result


def _unseal_one(
    file: Path, name: str, opener: Opener, out: Path, records: LineFile, result: Unsealed
) -> None:
    record = _record(file.with_name(f"{name}.json{SUFFIX}"), opener)
    guess = folder_name(str(record.get("model_label", "")))
    target = out / UNSORTED / guess / f"{name}.png"
    if target.exists():
        result.present += 1
        return
    write_bytes(target, opener.open(file, _MOST_PICTURE_BYTES))
    records.write(json.dumps(record | {"file": f"{UNSORTED}/{guess}/{name}.png"}))
    result.opened += 1


def _record(file: Path, opener: Opener) -> dict[str, Any]:
    """What was answered; empty when that file is missing: the picture is worth more."""
    if not file.is_file():
        return {}
    try:
        record = json.loads(opener.open(file, _MOST_RECORD_BYTES))
    except (ValueError, RecursionError) as exc:
        raise StorageError(f"{file}: is no JSON inside.") from exc
    if not isinstance(record, dict):
        raise StorageError(f"{file}: is no JSON object inside.")
    return record
