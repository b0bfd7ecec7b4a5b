"""What a SavedModel folder says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.incoming.facts import Facts, TensorFacts
from converters.incoming.savedmodel import load_savedmodel


def read(path: Path) -> Facts:
    """Load it and read. Raises RunError when it is damaged or reaches out of itself."""
    model = load_savedmodel(path)
    return Facts(
        inputs=tuple(_tensor(name, spec) for name, spec in model.inputs.items()),
        outputs=tuple(_tensor(name, spec) for name, spec in model.outputs.items()),
        name=path.name[:200],
        notes=(f"signature {model.key!r} of {path.name}",),
    )


def _tensor(name: str, spec: Any) -> TensorFacts:
    shape = () if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorFacts(name=name[:200], shape=shape, dtype=spec.dtype.name)
