"""What a Keras 2 `.h5`, or JSON with weights, says of itself."""

from __future__ import annotations

from pathlib import Path

from converters.incoming.arithmetic import in_float32
from converters.incoming.facts import Facts
from converters.incoming.readers.keras_layers import facts_of
from converters.keras2 import load_h5, load_json


def read(path: Path, *, weights: str = "", trust: bool = False) -> Facts:
    """Load it and read. Raises RunError when it is damaged or holds code."""
    loaded = load_json(path, Path(weights), trust=trust) if weights else load_h5(path, trust=trust)
    return facts_of(path, *in_float32(path, loaded))
