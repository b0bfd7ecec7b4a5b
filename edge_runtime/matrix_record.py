"""The parity matrix of a bundle as a file, and that of another Python environment merged in."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.bundle import Bundle
from edge_runtime.engines import is_installed, matrix_engines
from edge_runtime.errors import EngineError, EngineMissingError, StorageError
from edge_runtime.files import require_writable_folder, sha256_file, write_text
from edge_runtime.golden import GoldenTensors
from edge_runtime.machine import machine_facts
from edge_runtime.manifest import MANIFEST_NAME, MatrixCell, Sha256
from edge_runtime.matrix import ModelFile, is_absent, parity_matrix
from edge_runtime.text import one_line

MATRIX_SCHEMA: Final = 1
MAX_ANSWER_BYTES = 16 << 20
OTHER_LIMIT_S = 900.0
_VERSION_LIMIT_S = 60.0
_POLL_S = 0.05


class MatrixRecord(BaseModel):
    """A bundle's matrix, computed on one machine.

    Attributes:
        edgeproof: the version that computed it.
        manifest_sha256: of the bundle's manifest: names the bundle for certain.
        inputs: how many golden inputs there are; a slow engine's parity says how many it took.
        engines: the Python that ran each engine, such as `3.11.9`; of those that ran.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = MATRIX_SCHEMA
    edgeproof: str
    bundle: str
    manifest_sha256: Sha256
    machine: dict[str, str | None]
    inputs: int = Field(ge=1)
    engines: dict[str, str]
    cells: Annotated[tuple[MatrixCell, ...], Field(max_length=10_000)]


def bundle_matrix(
    bundle: Bundle,
    *,
    threads: int = 0,
    engines: Iterable[str] | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> MatrixRecord:
    """Every variant of a bundle on every engine here, on its golden inputs.

    Args:
        engines: only these, where given.

    Raises:
        BundleError: when a file is missing or damaged.
    """
    golden = GoldenTensors.read(bundle.checked_file(bundle.manifest.golden.tensors), variants=())
    matrix = parity_matrix(
        {v.name: ModelFile(v.format, bundle.checked_file(v.file)) for v in bundle.variants},
        head=bundle.head,
        inputs=golden.inputs,
        reference=golden.reference,
        outputs=bundle.manifest.outputs,
        threads=threads,
        other_threads=(),
        engines=engines,
        on_step=on_step,
    )
    ran = {cell.engine for cell in matrix.cells if cell.parity}
    return MatrixRecord(
        edgeproof=version("edgeproof"),
        bundle=bundle_stem(bundle.path),
        manifest_sha256=sha256_file(bundle.folder / MANIFEST_NAME),
        machine=machine_facts(),
        inputs=len(golden.inputs),
        engines=dict.fromkeys(sorted(ran), platform.python_version()),
        cells=matrix.cells,
    )


def bundle_stem(path: Path) -> str:
    """`pets` for `pets.bundle` and `pets.bundle.zip`."""
    return path.resolve().name.removesuffix(".zip").removesuffix(".bundle") or "bundle"


def matrix_file(bundle: Bundle, asked: Path | None) -> Path:
    """Where the matrix is to be written: unless asked for, `NAME.matrix.json` in this folder.

    Raises:
        StorageError: when it lies in the bundle, whose files are all hashed, or is not writable.
    """
    file = asked or Path(f"{bundle_stem(bundle.path)}.matrix.json")
    inside = file.resolve()
    if inside == bundle.path.resolve() or inside.is_relative_to(bundle.path.resolve()):
        raise StorageError(f"{file}: lies in the bundle; choose another place with --matrix-out.")
    if file.is_dir():
        raise StorageError(f"{file}: is a folder; name a file with --matrix-out.")
    require_writable_folder(file.absolute().parent)
    return file


def write_matrix(file: Path, record: MatrixRecord) -> None:
    """Write the matrix as JSON, whole or not at all. Raises StorageError."""
    write_text(file, record.model_dump_json(indent=1) + "\n")


def missing_engines(bundle: Bundle) -> list[str]:
    """Engines and peers for the bundle's files that are not installed here."""
    formats = dict.fromkeys(variant.format for variant in bundle.variants)
    return [name for f in formats for name in matrix_engines(f) if not is_installed(name)]


def require_edgeproof(python: Path) -> None:
    """Find out before the work whether another environment can take part.

    Raises:
        EngineMissingError: when there is no such Python, or it has no edgeproof.
        EngineError: when its edgeproof is of another version.
    """
    code, out, err = _run([str(python), "-m", "edgeproof", "--version"], _VERSION_LIMIT_S)
    if code != 0:
        if b"No module named" in err:
            raise EngineMissingError(
                f"{python}: has no edgeproof; install it there: {python} -m pip install edgeproof"
            )
        raise EngineMissingError(f"{python}: does not run edgeproof: {_last_line(err)}")
    here = f"edgeproof {version('edgeproof')}"
    there = one_line(out.decode("utf-8", "replace")) or "nothing that says its version"
    if there != here:
        raise EngineError(f"{python}: has {there}, this is {here}; install the same in both.")


@dataclass(frozen=True)
class OtherMatrix:
    """What another environment answered.

    Attributes:
        passed: whether the bundle answers as recorded there.
    """

    record: MatrixRecord
    passed: bool


def other_matrix(
    python: Path, bundle: Bundle, engines: Sequence[str], *, threads: int = 0
) -> OtherMatrix:
    """The matrix of a bundle on another environment's engines, computed there.

    Args:
        python: that environment's Python; it has edgeproof.
        engines: which to run there.

    Raises:
        EngineMissingError: when it cannot be started.
        EngineError: when it does not answer, or not with a matrix of this bundle.
    """
    command = [str(python), "-m", "edgeproof", "verify", str(bundle.path.resolve()), "--json"]
    command += ["--threads", str(threads), "--matrix-engines", ",".join(engines)]
    code, out, err = _run(command, OTHER_LIMIT_S)
    # 1: the bundle answers otherwise there; the matrix is no less true for that.
    if code not in (0, 1) or not out.strip():
        raise EngineError(f"{python}: edgeproof verify failed there: {_last_line(err)}")
    record = _parsed(python, out)
    if record.manifest_sha256 != sha256_file(bundle.folder / MANIFEST_NAME):
        raise EngineError(f"{python}: answered for another bundle than {bundle.path}.")
    return OtherMatrix(record, passed=code == 0)


def _parsed(python: Path, out: bytes) -> MatrixRecord:
    """Nothing in it is believed before it has been checked."""
    try:
        answer: Any = json.loads(out)
        return MatrixRecord.model_validate(answer["matrix"])
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineError(
            f"{python}: answered a matrix that this edgeproof does not read "
            f"({one_line(where)}: {first['msg']}); install the same edgeproof in both."
        ) from exc
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise EngineError(
            f"{python}: answered no matrix ({type(exc).__name__}); install the same edgeproof "
            "in both."
        ) from exc


def merged(here: MatrixRecord, there: MatrixRecord) -> MatrixRecord:
    """This matrix, with the other's cells for engines that are installed there and not here."""
    theirs = {(c.variant, c.engine): c for c in there.cells if not is_absent(c)}
    cells = tuple(theirs.get((c.variant, c.engine), c) if is_absent(c) else c for c in here.cells)
    engines = {**there.engines, **here.engines}
    ran = {cell.engine for cell in cells if cell.parity}
    return here.model_copy(
        update={"cells": cells, "engines": {n: v for n, v in engines.items() if n in ran}}
    )


def _run(command: Sequence[str], limit_s: float) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of another environment's Python.

    Raises:
        EngineMissingError: when it cannot be started.
        EngineError: when it takes longer, or says more, than any matrix does.
    """
    python = command[0]
    found = shutil.which(python)
    if found is None:
        raise EngineMissingError(
            f"{python}: no such program; name the python of an environment, such as venv/bin/python"
        )
    # Not resolved: an environment's python is a link, and its place is what makes it that one's.
    command = [str(Path(found).absolute()), *command[1:]]
    with contextlib.ExitStack() as stack:
        # An empty folder: `-m` would find what lies in the working one before what is installed.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeproof-"))
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that its own children end with it
            )
        except OSError as exc:
            raise EngineMissingError(f"{python}: cannot be run: {exc.strerror}.") from exc
        try:
            deadline = time.monotonic() + limit_s
            while child.poll() is None:
                if time.monotonic() > deadline:
                    raise EngineError(f"{python}: no answer within {limit_s:g} s; stopped.")
                if max(os.fstat(f.fileno()).st_size for f in (out, err)) > MAX_ANSWER_BYTES:
                    raise EngineError(f"{python}: says more than any matrix holds; stopped.")
                time.sleep(_POLL_S)
        finally:
            _end(child)
        return child.returncode, _whole(out, python), _whole(err, python)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment, without what would lead the other Python to this one's packages."""
    return {k: v for k, v in ours.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def _whole(stream: IO[bytes], python: str) -> bytes:
    stream.seek(0)
    data = stream.read(MAX_ANSWER_BYTES + 1)
    if len(data) > MAX_ANSWER_BYTES:
        raise EngineError(f"{python}: says more than any matrix holds.")
    return data


def _last_line(err: bytes) -> str:
    lines = err.decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1]) if lines else "it said nothing."
