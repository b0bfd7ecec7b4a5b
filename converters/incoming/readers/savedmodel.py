"""What a SavedModel folder says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.incoming.facts import Facts, TensorFacts
from converters.incoming.savedmodel import ends_in, load_savedmodel

_ENDS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def read(path: Path, *, signature: str = "") -> Facts:
    """Load it and read. Raises RunError when it is damaged or reaches out of itself."""
    model = load_savedmodel(path, signature)
    last = ends_in(model)
    return Facts(
        inputs=tuple(_tensor(name, spec) for name, spec in model.inputs.items()),
        outputs=tuple(_tensor(name, spec) for name, spec in model.outputs.items()),
        name=path.name[:200],
        ends_in=_ENDS.get(last, ""),
        last=last[:100],
        signature=model.key[:200],
        signatures=tuple(key[:200] for key in model.keys[:1000]),
    )


def _tensor(name: str, spec: Any) -> TensorFacts:
    shape = () if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorFacts(name=name[:200], shape=shape, dtype=spec.dtype.name)
