"""What a `.keras` file says of itself. Its structure is looked at before Keras sees it."""

from __future__ import annotations

from pathlib import Path

from converters.incoming.arithmetic import in_float32
from converters.incoming.facts import Facts
from converters.incoming.keras_file import load_keras
from converters.incoming.readers.keras_layers import facts_of


def read(path: Path, *, trust: bool = False) -> Facts:
    """Load it and read. Raises RunError when it is damaged or holds code."""
    return facts_of(path, *in_float32(path, load_keras(path, trust=trust)))
