"""`edgeproof data`: what is kept of data sets, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

IMAGES = typer.Option(
    metavar="DIR", help="Folder that a list's paths are relative to.  [default: the list's own]"
)
TFDS_DIR = typer.Option(
    metavar="DIR", help="Where TensorFlow Datasets keeps its data.  [default: its own choice]"
)
CACHE = typer.Option(
    metavar="DIR",
    help="Where decoded pictures and unpacked archives are kept.  [default: ~/.cache/edgeproof]",
)

data_app = typer.Typer(no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add the group of commands `data` to an app."""
    app.add_typer(data_app, name="data", short_help="Look over a data set; see what is kept.")


@data_app.callback()
def _data() -> None:
    """Look over a data set before training; see and clear what is kept of earlier ones."""


@data_app.command("check", short_help="What is wrong with a data set.")
def check_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="What `edgeproof train` takes: a folder, a .csv or .jsonl list, an archive, "
            "digits, or tfds:NAME.",
        ),
    ],
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with the pictures that it is about."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything that was found, as JSON."),
    ] = None,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Move there what cannot be decoded, shows nothing, or is there twice, with a list "
            "to put it back by.",
        ),
    ] = None,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Put back all that --quarantine DIR took, and check nothing."),
    ] = False,
    images: Annotated[str | None, IMAGES] = None,
    tfds_dir: Annotated[str | None, TFDS_DIR] = None,
    cache: Annotated[str | None, CACHE] = None,
) -> None:
    """Look at every picture of a data set before it is learnt from.

    Finds what cannot be decoded, is there twice (nearly the same, too), is in two parts of the
    split or under two labels, has a wrong name or an extreme size, and classes that are alike in
    name or of unequal number. The exit code is 1 when there are problems; notes leave it at 0.
    """
    from trainer.data.check import commands
    from trainer.data.places import DataOptions

    options = DataOptions(images=images, tfds_dir=tfds_dir, cache=cache)
    if undo:
        commands.undo(source, options, quarantine)
    elif commands.check_and_print(source, options, report, json_file, quarantine):
        raise typer.Exit(1)


@data_app.command("cache", short_help="What is kept on the disk, and where.")
def cache_command(
    cache: Annotated[str | None, CACHE] = None,
    clear_pixels: Annotated[
        bool, typer.Option("--clear-pixels", help="Remove decoded pictures; they are made anew.")
    ] = False,
    clear: Annotated[
        bool,
        typer.Option(
            "--clear",
            help="Remove unpacked archives and sets as well. Runs that were trained on them "
            "cannot be converted any more, until the same archive is named again.",
        ),
    ] = False,
) -> None:
    """List decoded pictures and unpacked sets, with their sizes, and remove them."""
    from trainer.data.places import DataOptions
    from trainer.data.room import holdings, remove
    from trainer.errors import DataError

    root = DataOptions(cache=cache).root
    if root is None:
        raise DataError("There is no home folder, so nothing is kept; name a place with --cache.")
    for folder, what, gone in (
        (root / "pixels", "sets of decoded pictures", clear or clear_pixels),
        (root / "sets", "unpacked sets", clear),
    ):
        held = holdings(folder)
        left = [each for each in held if not (gone and remove(each.folder))]
        total = size_text(sum(each.size_bytes for each in held))
        removed = ", removed" if held and not left else ""
        typer.echo(f"{folder}: {len(held)} {what}, {total}{removed}")
        for each in left:
            typer.echo(f"  {size_text(each.size_bytes):>10}  {each.folder.name}")


def size_text(count: int) -> str:
    """`3.4 MB`."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
