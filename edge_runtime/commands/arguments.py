"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, or the same as one .zip.")
]
MAX_THREADS = 256
