"""`edgeproof explain`: what a trained model looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that train made.")],
    pictures: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES_OR_VIDEO", help="A picture, a folder of pictures, or a video."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the page and the overlays.")],
    label: Annotated[
        str | None,
        typer.Option(help="Whose reasons to look for.  [default: the answer's own]"),
    ] = None,
    count: Annotated[
        int,
        typer.Option("--pictures", min=1, max=1000, help="At most so many pictures of a folder."),
    ] = 16,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="At most so many frames of a video.")
    ] = None,
) -> None:
    """Show which pixels an answer hangs on.

    Grad-CAM and integrated gradients as overlays, the maps of three layers, and the filters of the
    first; of a video, Grad-CAM over every frame.
    """
    from edge_runtime.files import require_writable_folder
    from edge_runtime.text import printable
    from trainer.explain.explaining import ExplainOptions, explain
    from trainer.training import require_packages

    require_packages("Explaining")
    require_writable_folder(out)
    options = ExplainOptions(label=label, pictures=count, max_frames=max_frames)
    explanation = explain(run, pictures, out, options)
    for reason in explanation.skipped[:5]:
        typer.echo(f"note: skipped {printable(reason)}", err=True)
    for path in explanation.outputs:
        typer.echo(f"wrote {path}")
