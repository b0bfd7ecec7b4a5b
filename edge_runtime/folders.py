"""Where this user's caches and choices lie: the XDG Base Directory Specification's places."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """For what can be made again: `$XDG_CACHE_HOME/edgeproof`; `None` where there is no home."""
    return _folder("XDG_CACHE_HOME", ".cache")


def state_folder() -> Path | None:
    """For what a user decided: `$XDG_STATE_HOME/edgeproof`; `None` where there is no home."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, below_home: str) -> Path | None:
    # The specification: a path that is not absolute is to be ignored.
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named / "edgeproof"
    try:
        return Path.home() / below_home / "edgeproof"
    except RuntimeError:
        return None
