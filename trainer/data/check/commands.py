"""What `edgeproof data check` does with what was found."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import typer

from edge_runtime.files import require_writable_folder, write_text
from edge_runtime.text import count_of, one_line, printable
from trainer.data.check.check import Checked, check
from trainer.data.check.findings import Finding
from trainer.data.check.quarantine import put_aside, put_back
from trainer.data.check.titles import title_of
from trainer.data.kinds import kind_of
from trainer.data.places import DataOptions
from trainer.errors import DataError, MissingPackageError, OptionError

# So many files of a finding are named in the terminal.
NAMED = 3


def check_and_print(
    source: str,
    options: DataOptions,
    report: Path | None,
    json_file: Path | None,
    quarantine: Path | None,
) -> bool:
    """Check, print, write and move what was asked for; whether problems are left."""
    _require_outputs(source, report, json_file, quarantine)
    checked = check(source, options)
    typer.echo(_headline(checked))
    for finding in checked.findings:
        typer.echo(_line(finding))
        named = _named(finding)
        for line in named[:NAMED]:
            typer.echo(f"           {one_line(line)}")
        if len(named) > NAMED:
            typer.echo(f"           and {len(named) - NAMED} more")
    if report:
        from trainer.data.check.report import render_check

        write_text(report, render_check(checked))
        typer.echo(f"report:  {report}")
    if json_file:
        write_text(json_file, checked.to_json())
        typer.echo(f"json:    {json_file}")
    if quarantine:
        return _put_aside(checked, quarantine)
    if checked.to_move:
        count = count_of(len(checked.to_move), "file")
        typer.echo(f"next:    --quarantine DIR would move {count} aside, and --undo puts them back")
    return bool(checked.problems)


def undo(source: str, options: DataOptions, quarantine: Path | None) -> None:
    """Put everything back.

    Raises:
        OptionError: when no quarantine is named.
        DataError: when something stays, or is gone.
    """
    if quarantine is None:
        raise OptionError("--undo: name the quarantine that is to be put back: --quarantine DIR.")
    done = put_back(_root(source, options), quarantine)
    typer.echo(f"put back {count_of(len(done.restored), 'file')}")
    if done.kept:
        raise DataError(
            f"{quarantine}: {count_of(len(done.kept), 'file')} stay there, because others have "
            f"taken their places, such as {one_line(done.kept[0])}."
        )
    if done.gone:
        raise DataError(
            f"{quarantine}: {count_of(len(done.gone), 'file')} of its list are nowhere, such as "
            f"{one_line(done.gone[0])}."
        )


def _root(source: str, options: DataOptions) -> Path:
    """The set's folder, also when so much was moved that nothing of it can be listed."""
    if kind_of(source).name == "list":
        file = Path(source).expanduser()
        return Path(options.images).expanduser() if options.images else file.parent
    return Path(source).expanduser()


def _require_outputs(
    source: str, report: Path | None, json_file: Path | None, quarantine: Path | None
) -> None:
    """Find out now what would fail after minutes of looking."""
    if report:
        for package in ("jinja2", "matplotlib"):
            if importlib.util.find_spec(package) is None:
                raise MissingPackageError(
                    f"--report needs {package}, which is not installed: pip install "
                    "'edgeproof[train]'."
                )
    for file in (report, json_file):
        if file:
            if file.is_dir():
                raise OptionError(f"{file}: is a folder; name a file.")
            require_writable_folder(file.absolute().parent)
    if quarantine:
        if kind_of(source).name not in ("folder", "list"):
            raise OptionError(
                f"--quarantine: {source} is unpacked anew whenever it is needed; unpack it "
                "yourself and name the folder."
            )
        require_writable_folder(quarantine)


def _headline(checked: Checked) -> str:
    parts = {part or "": len(pictures) for part, pictures in checked.folder.parts.items()}
    split = "" if "" in parts else f" ({', '.join(f'{p} {n}' for p, n in parts.items())})"
    labels = len(checked.folder.labels)
    return (
        f"{printable(checked.source)}: {count_of(len(checked.facts), 'picture')}{split}, "
        f"{labels} class{'' if labels == 1 else 'es'}"
    )


def _line(finding: Finding) -> str:
    return f"{finding.severity:8} {printable(title_of(finding))}"


def _named(finding: Finding) -> list[str]:
    """A line for each file, or for each group of them."""
    if finding.groups:
        return ["  =  ".join(group) for group in finding.groups]
    return [f"{path}: {why}" if why else path for path, why in finding.files]


def _put_aside(checked: Checked, quarantine: Path) -> bool:
    if checked.to_move:
        put_aside(checked.folder.root, checked.to_move, quarantine)
        typer.echo(
            f"moved:   {count_of(len(checked.to_move), 'file')} to {quarantine}; the same command "
            "with --undo puts them back"
        )
    # A finding whose files are all but gone is one no more.
    moved = set(checked.to_move)
    return any(not _is_mended(finding, moved) for finding in checked.problems)


def _is_mended(finding: Finding, moved: set[str]) -> bool:
    if finding.groups:
        return all(len(set(group) - moved) <= 1 for group in finding.groups)
    return bool(finding.files) and all(path in moved for path, _ in finding.files)
