"""A run's folder, held by one training at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.files import storage_errors
from trainer.errors import RunExistsError
from trainer.fit_state import CHECKPOINT_NAME

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def own_folder(out: Path) -> Iterator[None]:
    """Make the folder and hold it while the body runs; it is free with the process' end, too.

    What a training that was killed left half-written goes, and so does a folder that stays empty.

    Raises:
        RunExistsError: when another training holds it.
        StorageError: when it cannot be made.
    """
    missing = [p for p in [out, *out.parents] if not p.exists()]
    with _locked(out):
        name = Path(CHECKPOINT_NAME)
        for left in out.glob(f".{name.stem}.*.part{name.suffix}"):
            left.unlink(missing_ok=True)
        try:
            yield
        finally:
            # Only who holds it takes it away: whom it refuses may have found it missing as well.
            with contextlib.suppress(OSError):  # there is a run in it
                for made in missing:
                    made.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if fcntl else -1
    if fcntl is None:
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RunExistsError(
                f"{folder}: another training writes there; choose another --out, or wait for it."
            ) from exc
        except OSError:
            pass  # no locks on this file system
        yield
    finally:
        os.close(handle)
