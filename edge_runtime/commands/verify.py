"""`edgeproof verify`: replay a bundle's proof."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_runtime.commands.arguments import MAX_THREADS, BundleArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_runtime.bundle import Bundle
    from edge_runtime.matrix_record import MatrixRecord
    from edge_runtime.verification import Verification


def verify_command(
    bundle: BundleArgument,
    threads: Annotated[int, typer.Option(min=0, max=MAX_THREADS, help="0: one for each core.")] = 0,
    matrix: Annotated[
        bool,
        typer.Option("--matrix", help="Also run every variant on every engine, and compare."),
    ] = False,
    matrix_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the matrix there.  [default: NAME.matrix.json]"),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="PYTHON",
            help="An environment's Python that has edgeproof and an engine that is missing here.",
        ),
    ] = None,
    matrix_engines: Annotated[str | None, typer.Option(hidden=True)] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="It must be signed by this public key or certificate (PEM); repeat it for any.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check every hash, replay the golden set, and say whether the bundle answers as recorded.

    If it does not, the first stage that differs is named: decode, preprocess, engine or head.
    The matrix, also of engines that never answer a camera, is information: it does not decide.
    """
    from edge_runtime.bundle import Bundle
    from edge_runtime.errors import VerificationError
    from edge_runtime.matrix_record import matrix_file, require_edgeproof, write_matrix
    from edge_runtime.progress import status_line
    from edge_runtime.trust.keys import require_key
    from edge_runtime.verification import verify

    with _failures_as_json(bundle, as_json):
        # Nothing is parsed that is not signed by both: by one of these, and as the device demands.
        wanted = [require_key(key) for key in keys or []]
        opened = Bundle.open(bundle, signed_by=wanted or None)
        if wanted:
            opened = Bundle.open(bundle)
    wants_matrix = matrix or bool(others) or matrix_out is not None or matrix_engines is not None
    writes = wants_matrix and (matrix_out is not None or not as_json)
    file = matrix_file(opened, matrix_out) if writes else None
    for python in others or []:
        require_edgeproof(python)
    record: MatrixRecord | None = None
    with _failures_as_json(bundle, as_json), status_line("verifying") as on_step:
        result = verify(opened, threads=threads, on_step=on_step)
        if wants_matrix:
            names = matrix_engines.split(",") if matrix_engines is not None else None
            record = _compute_matrix(opened, threads, names, others or [], on_step)
    if record and file:
        write_matrix(file, record)
    if as_json:
        _print_json(opened, result, record)
    else:
        _print_table(opened, result)
        _print_matrix(opened, record, file)
    if (different := result.first_difference) is not None:
        raise VerificationError(
            f"{bundle}: differs first at stage {different.stage!r} "
            f"({different.subject}): {different.detail}."
        )
    if not result.passed:
        raise VerificationError(
            f"{bundle}: nothing could be replayed: no engine is installed; "
            "pip install ai-edge-litert"
        )


@contextlib.contextmanager
def _failures_as_json(bundle: Path, as_json: bool) -> Iterator[None]:
    """A bundle that is refused is an answer too, for a program that reads it."""
    import json

    from edge_runtime.errors import BundleError

    try:
        yield
    except BundleError as exc:
        if as_json:
            answer = {"bundle": str(bundle), "passed": False, "checks": [], "error": str(exc)}
            typer.echo(json.dumps(answer))
        raise


def _compute_matrix(
    bundle: Bundle,
    threads: int,
    engines: list[str] | None,
    others: list[Path],
    on_step: Callable[[str], None],
) -> MatrixRecord:
    """This machine's matrix, with what the other environments add to it."""
    from edge_runtime.matrix_record import bundle_matrix, merged, missing_engines, other_matrix

    record = bundle_matrix(bundle, threads=threads, engines=engines, on_step=on_step)
    missing = missing_engines(bundle)
    for python in others if missing else []:
        on_step(f"matrix on {python}")
        answer = other_matrix(python, bundle, missing, threads=threads)
        if not answer.passed:
            typer.echo(
                f"note: there the bundle does not answer as recorded; see {python} -m edgeproof "
                f"verify {bundle.path}",
                err=True,
            )
        if not answer.record.engines:
            typer.echo(f"note: {python} ran no engine that is missing here", err=True)
        record = merged(record, answer.record)
    if others and not missing:
        typer.echo("note: every engine is installed here; --with adds none", err=True)
    return record


def _print_table(bundle: Bundle, result: Verification) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edge_runtime.text import printable

    title = f"{escape(printable(bundle.name))}: the golden set on this machine"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    for column in ("result", "up to stage", "found"):
        table.add_column(column, overflow="fold")
    style = {"same": "green", "differs": "bold red", "skipped": "yellow"}
    for check in result.checks:
        status = f"[{style[check.status]}]{check.status}[/]"
        table.add_row(escape(check.subject), status, check.stage, escape(printable(check.detail)))
    Console().print(table)
    if result.passed:
        typer.echo(f"{bundle.path}: answers as recorded ({len(bundle.manifest.files)} files whole)")


def _print_matrix(bundle: Bundle, record: MatrixRecord | None, file: Path | None) -> None:
    if record is None:
        return
    from edge_runtime.matrix_table import print_matrix

    print_matrix(record, {variant.name: variant.tolerance for variant in bundle.variants})
    if file:
        typer.echo(f"wrote {file}")


def _print_json(bundle: Bundle, result: Verification, record: MatrixRecord | None) -> None:
    import dataclasses
    import json

    answer = {
        "bundle": str(bundle.path),
        "passed": result.passed,
        "checks": [dataclasses.asdict(check) for check in result.checks],
    }
    if record:
        answer["matrix"] = record.model_dump(mode="json")
    typer.echo(json.dumps(answer))
