"""Names of sources and bundles in topics and file names."""

from __future__ import annotations

import re


def slug(text: str, longest: int = 60) -> str:
    """Letters, digits and underscores, in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:longest] or "x"


def source_slug(source: str) -> str:
    """The same of a source's name: of a path or an address, the last part."""
    return slug(source.rstrip("/").rpartition("/")[2])
