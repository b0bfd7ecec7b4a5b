"""Options of `edgeproof run` that say where answers go; `edge_runtime.sinks.table` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# --jsonl
Jsonl = Annotated[Path | None, typer.Option(help="Write one JSON object a line for each frame.")]
Append = Annotated[
    bool, typer.Option("--append", help="Go on after the lines that --jsonl has already.")
]

# --video
Video = Annotated[
    Path | None,
    typer.Option(help="Write an annotated video (.mp4, .avi, .mkv); one for each source."),
]

# --display
Display = Annotated[
    bool, typer.Option("--display", help="Show a window; needs a cv2 with a window system.")
]

# --metrics
Metrics = Annotated[
    bool,
    typer.Option("--metrics", help="Let Prometheus read figures of the run."),
]
MetricsAddress = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where it reads them.  [default: 127.0.0.1:9464]"),
]
