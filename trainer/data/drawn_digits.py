"""`digits`: photographs of handwritten digits, drawn once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer.data.places import DataOptions
from trainer.data.sets import kept_set
from trainer.folders import PictureFolder, look_through

# Another number where the photographs are drawn otherwise.
VERSION = 1


def look(source: str, options: DataOptions) -> PictureFolder:
    """See `trainer.data.kinds.look`."""

    def fill(folder: Path) -> None:
        from trainer.digits import write_photos

        write_photos(folder / "photographs")

    folder = kept_set(options.sets, f"digits-{VERSION}", fill)
    return replace(look_through(folder / "photographs"), origin=source)
