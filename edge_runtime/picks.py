"""What `edgeproof bench --pick` chose for a bundle on this machine; `run` honours it.

A bundle is hashed and may lie on a read-only disk: a pick lies in the user's state folder, named by
the hash of the bundle's manifest, and so is of that very bundle only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import devices
from edge_runtime.bundle import Bundle
from edge_runtime.choice import Candidate
from edge_runtime.engines import EngineOptions
from edge_runtime.engines.options import parse_delegates
from edge_runtime.errors import StorageError
from edge_runtime.files import sha256_file, write_text
from edge_runtime.folders import state_folder
from edge_runtime.manifest import MANIFEST_NAME, Sha256
from edge_runtime.text import count_of

_MOST_BYTES = 1 << 16
_MOST_PICKS = 1000


class Pick(BaseModel):
    """A choice with what was measured when it was made.

    Attributes:
        manifest: SHA-256 of the bundle's manifest.
        path: where the bundle lay.
        machine: processor and architecture that it was measured on.
        variant, engine, threads: what to run.
        delegates, providers: as `EngineOptions` has them; delegates as on the command line.
        p99_ms: of single inferences.
        made: date, as YYYY-MM-DD.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Sha256
    path: str
    machine: str
    variant: str
    engine: str
    threads: int = Field(ge=1, le=1024)
    delegates: tuple[str, ...] = ()
    providers: tuple[str, ...] = ("cpu",)
    p99_ms: float = Field(ge=0)
    made: str

    @property
    def names(self) -> tuple[str, str]:
        return self.variant, self.engine

    def describe(self) -> str:
        """What it is, in words."""
        extra = [*self.delegates, *(p for p in self.providers if p != "cpu")]
        where = f" with {', '.join(extra)}" if extra else ""
        threads = count_of(self.threads, "thread")
        return f"{self.variant} on {self.engine}{where}, {threads}, p99 {self.p99_ms:.2f} ms"

    def candidate(self, bundle: Bundle) -> Candidate:
        """Its variant on its engine. Raises VariantError."""
        return Candidate(bundle.variant(self.variant), self.engine)

    def options(self, default: EngineOptions) -> EngineOptions:
        """Its delegates and providers; the rest as in `default`."""
        delegates = parse_delegates(self.delegates)
        return replace(default, delegates=delegates, providers=self.providers)


def manifest_hash(bundle: Bundle) -> str:
    """SHA-256 of the bundle's manifest, which itself holds every other file's."""
    return sha256_file(bundle.folder / MANIFEST_NAME)


def this_machine() -> str:
    """Processor and architecture, in one line: times of one are none of another."""
    device = devices.detect()
    parts = (device.model, device.cpu_model, device.architecture)
    return ", ".join(part for part in parts if part)


def store_pick(pick: Pick) -> Path:
    """Write a pick, in the place of an earlier one for the same bundle; returns where.

    Raises:
        StorageError: when it cannot be written.
    """
    folder = _picks_folder()
    if folder is None:
        raise StorageError("This user has no home folder: set XDG_STATE_HOME to keep a pick.")
    file = folder / f"{pick.manifest}.json"
    write_text(file, pick.model_dump_json(indent=2) + "\n")
    return file


def forget_pick(bundle: Bundle) -> bool:
    """Remove the bundle's pick; whether there was one.

    Raises:
        StorageError: when it cannot be removed.
    """
    folder = _picks_folder()
    file = folder / f"{manifest_hash(bundle)}.json" if folder else None
    if file is None or not file.exists():
        return False
    try:
        file.unlink()
    except OSError as exc:
        raise StorageError(f"{file}: cannot be removed: {exc.strerror}.") from exc
    return True


def find_pick(bundle: Bundle, choices: Sequence[Candidate]) -> tuple[Pick | None, list[str]]:
    """The bundle's pick, where it holds here and now; and what was passed over, in words.

    Args:
        choices: what may run here.
    """
    folder = _picks_folder()
    if folder is None or not folder.is_dir():
        return None, []
    file = folder / f"{manifest_hash(bundle)}.json"
    again = "run `edgeproof bench --pick` again"
    if not file.exists():
        if _has_earlier(folder, bundle):
            return None, [f"the pick for {bundle.path} is of an earlier bundle there; {again}"]
        return None, []
    try:
        pick = _read(file)
    except (OSError, ValueError) as exc:
        problem = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else exc
        return None, [f"the pick {file} is not readable ({problem}); {again}"]
    if problem := _why_stale(pick, bundle, choices):
        return None, [f"the pick of {pick.made} ({pick.describe()}) is stale: {problem}; {again}"]
    return pick, []


def _why_stale(pick: Pick, bundle: Bundle, choices: Sequence[Candidate]) -> str:
    """Why it does not hold any more; empty when it does."""
    if pick.manifest != manifest_hash(bundle):
        return "it is of another bundle"
    if pick.machine != (here := this_machine()):
        return f"it was measured on {pick.machine}, and this is {here}"
    if pick.names not in {(c.variant.name, c.engine) for c in choices}:
        known = pick.variant in {v.name for v in bundle.variants}
        return f"{pick.engine} is not installed any more" if known else "no such variant"
    return ""


def _has_earlier(folder: Path, bundle: Bundle) -> bool:
    """Whether a bundle that lay at the same place has a pick."""
    here = str(bundle.path.resolve())
    for number, file in enumerate(folder.glob("*.json")):
        if number == _MOST_PICKS:
            break
        try:
            if _read(file).path == here:
                return True
        except (OSError, ValueError):
            continue
    return False


def _read(file: Path) -> Pick:
    with file.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("larger than any pick")
    return Pick.model_validate_json(data)


def _picks_folder() -> Path | None:
    state = state_folder()
    return state / "picks" if state else None
